"""`unillm serve`: answers over HTTP, in the languages of OpenAI, Ollama and Anthropic."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from ..errors import UsageError
from ..groups import Loading
from ..session import Session
from ..settings import Settings

if TYPE_CHECKING:
    from ...runtime.server.guard import Rules

ServedOption = Annotated[
    list[str] | None, Option("--model", "-m", metavar="MODEL", help="Load this model at once; may be given again.")
]
HostOption = Annotated[
    str,
    Option("--host", metavar="ADDRESS", help="Where to listen: an address, a name, or unix:PATH for a socket file."),
]
PortOption = Annotated[
    int, Option("--port", metavar="PORT", min=0, max=65535, help="The port to listen on; 0 takes one that is free.")
]
KeyOption = Annotated[
    list[str] | None, Option("--api-key", metavar="KEY", help="Let in only who brings this key; may be given again.")
]
KeyFileOption = Annotated[
    Path | None, Option("--api-key-file", metavar="PATH", help="A file with such keys, a line each.")
]
KeepAliveOption = Annotated[
    str | None, Option("--keep-alive", metavar="TIME", help="How long an idle model stays: 30s, 5m, 0, -1 for ever.")
]
MaxQueueOption = Annotated[
    int, Option("--max-queue", metavar="N", min=0, help="How many requests may wait for a model.")
]
CorsOption = Annotated[
    list[str] | None, Option("--cors", metavar="ORIGIN", help="A page that may call from a browser; * for any.")
]
CertOption = Annotated[Path | None, Option("--tls-cert", metavar="PATH", help="The certificate for HTTPS.")]
TlsKeyOption = Annotated[Path | None, Option("--tls-key", metavar="PATH", help="The certificate's key.")]
WorkersOption = Annotated[
    int, Option("--tokenizer-workers", metavar="N", min=1, help="Processes that turn text to tokens and back.")
]


@dataclass(frozen=True, slots=True)
class Door:
    """Where it listens, and whom it lets in."""

    host: HostOption = "127.0.0.1"
    port: PortOption = 8080
    api_key: KeyOption = None
    api_key_file: KeyFileOption = None
    cors: CorsOption = None
    tls_cert: CertOption = None
    tls_key: TlsKeyOption = None

    def rules(self) -> "Rules":
        """Whom the server lets in. Raises `UsageError`."""
        from ...runtime.server.guard import Rules
        from ...runtime.server.sockets import is_local

        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together", "give both")
        keys = (*(self.api_key or ()), *_keys_in(self.api_key_file))
        if any(not key or not key.isascii() or not key.isprintable() or " " in key for key in keys):
            raise UsageError("an API key has visible ASCII characters and no spaces")
        return Rules(keys, local=is_local(self.host), origins=tuple(self.cors or ()))


def serve(
    session: Session,
    model: ServedOption = None,
    keep_alive: KeepAliveOption = None,
    max_queue: MaxQueueOption = 512,
    tokenizer_workers: WorkersOption = 1,
    *,
    door: Door,
    loading: Loading,
) -> None:
    """Answer over HTTP, in the languages of OpenAI, Ollama and Anthropic.

    Models are loaded when they are asked for and stay for --keep-alive. Ctrl-C lets running answers end; a second one
    does not.

    \b
    Examples:
      unillm serve --port 8080
      unillm serve --model smollm2:135m --keep-alive -1
      unillm serve --host 0.0.0.0 --api-key-file keys.txt
    """
    import logging
    from importlib.metadata import version

    from ...registry.settings import RegistrySettings
    from ...runtime.hosting.options import HostOptions
    from ...runtime.logs import log_to_stderr
    from ...runtime.server.serving import ServeOptions, serve
    from ...runtime.server.times import read_seconds

    settings = session.settings(**loading.flags())
    rules = door.rules()
    if not rules.local and not rules.keys:
        session.output.warn(f"anybody who reaches {door.host} may use this server: there is no --api-key")
    hosting = HostOptions(
        keep_alive=300.0 if keep_alive is None else read_seconds(keep_alive),
        max_queue=max_queue,
        text_workers=tokenizer_workers,
        engine=engine_options(settings),
    )
    log_to_stderr("serve", logging.WARNING if session.quiet else logging.INFO)
    serve(
        ServeOptions(
            host=door.host,
            port=door.port,
            models=tuple(model or ()),
            rules=rules,
            tls_cert=door.tls_cert,
            tls_key=door.tls_key,
            version=version("unillm-cli"),
            hosting=hosting,
        ),
        RegistrySettings.from_environment(settings.environment),
        session.output.say,
    )


def engine_options(settings: Settings) -> dict[str, Any]:
    """What every model is loaded with, under the names of `EngineOptions`."""
    if settings.draft not in ("ngram", "off"):
        raise UsageError(f"a server guesses with no model, and UNILLM_DRAFT is {settings.draft}", "ngram or off")
    options = {
        "device": settings.device,
        "dtype": settings.dtype,
        "context": settings.context,
        "kv_dtype": settings.kv_dtype,
        "prefix_cache": settings.prefix_cache,
        "attention_backend": settings.attention_backend,
        "exact": settings.exact,
        "quantize": settings.quantize,
        "draft": settings.draft,
        "batch_tokens": settings.max_batch_tokens,
        "sequences": settings.max_running,
    }
    return {name: value for name, value in options.items() if value is not None}


def _keys_in(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        keys = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text") from None
    if not keys:
        raise UsageError(f"{path} holds no key", "a line each; without --api-key-file everybody is let in")
    return keys
