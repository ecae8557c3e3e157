"""Every route there is, a dialect a line."""

from . import own
from .endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (*own.ENDPOINTS,)
