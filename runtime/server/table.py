"""Every route there is, a dialect a line."""

from . import own
from .anthropic import endpoints as anthropic
from .endpoint import Endpoint
from .ollama import endpoints as ollama
from .openai import endpoints as openai

ENDPOINTS: tuple[Endpoint, ...] = (
    *own.ENDPOINTS,
    *openai.ENDPOINTS,
    *ollama.ENDPOINTS,
    *anthropic.ENDPOINTS,
)
