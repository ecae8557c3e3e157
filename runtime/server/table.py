"""Every route there is, a dialect a line."""

from . import native, own
from .anthropic import endpoints as anthropic
from .endpoint import Endpoint
from .ollama import endpoints as ollama
from .openai import endpoints as openai
from .openapi import describing
from .page import endpoints as page

_ANSWERING: tuple[Endpoint, ...] = (
    *own.ENDPOINTS,
    *native.ENDPOINTS,
    *openai.ENDPOINTS,
    *ollama.ENDPOINTS,
    *anthropic.ENDPOINTS,
    *page.ENDPOINTS,
)

ENDPOINTS = (*_ANSWERING, describing(_ANSWERING, own.OWN), *page.FILES)
