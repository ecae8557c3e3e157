"""Ollama's endpoints, a row each, but for the front door: it stands with the page."""

from ..endpoint import Endpoint
from .answering import chat, embed, embeddings, generate
from .blobs import has_blob, send_blob
from .library import copy, create, delete, processes, pull, show, tags, version
from .results import (
    ChatReply,
    EmbeddingsReply,
    EmbedReply,
    GenerateReply,
    ListedModels,
    LoadedModels,
    ShownModel,
    Status,
    Version,
)
from .types import (
    ChatBody,
    CopyBody,
    CreateBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    NamedBody,
    PullBody,
    ShowBody,
)
from .wording import OLLAMA

ENDPOINTS = (
    Endpoint("GET", "/api/version", version, OLLAMA, "The server's version", result=Version),
    Endpoint("POST", "/api/generate", generate, OLLAMA, "Answer a prompt", GenerateBody, GenerateReply),
    Endpoint("POST", "/api/chat", chat, OLLAMA, "Go on with a conversation", ChatBody, ChatReply),
    Endpoint("POST", "/api/embed", embed, OLLAMA, "Vectors of texts", EmbedBody, EmbedReply),
    Endpoint("POST", "/api/embeddings", embeddings, OLLAMA, "The vector of a text", EmbeddingsBody, EmbeddingsReply),
    Endpoint("GET", "/api/tags", tags, OLLAMA, "The models that are installed", result=ListedModels),
    Endpoint("POST", "/api/show", show, OLLAMA, "What a model is", ShowBody, ShownModel),
    Endpoint("POST", "/api/pull", pull, OLLAMA, "Fetch a model", PullBody, Status),
    Endpoint("POST", "/api/create", create, OLLAMA, "Make a model of another", CreateBody, Status),
    Endpoint("HEAD", "/api/blobs/{digest}", has_blob, OLLAMA, "Whether a file was sent", statuses=(200, 404)),
    Endpoint("POST", "/api/blobs/{digest}", send_blob, OLLAMA, "Send a file", reads_stream=True, statuses=(200, 201)),
    Endpoint("POST", "/api/copy", copy, OLLAMA, "Give a model a second name", CopyBody),
    Endpoint("DELETE", "/api/delete", delete, OLLAMA, "Remove a model", NamedBody),
    Endpoint("GET", "/api/ps", processes, OLLAMA, "The models that are loaded", result=LoadedModels),
)
