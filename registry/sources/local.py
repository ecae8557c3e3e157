"""Models that lie in a folder of the user's, or in one weight file: used where they are, never copied or changed."""

from pathlib import Path

from ..digests import hash_file
from ..errors import NoWeights
from ..events import Listener, Progress, Verifying
from ..files import ModelFiles
from ..manifest import PlaceOrigin, ShelvedFile
from ..names import Kind, ModelRef
from ..plan import Plan, PlannedFile
from ..selection import FORMAT_WORDS, Chosen, choose_file, choose_files
from ..store import free_space


def files_in_place(ref: ModelRef) -> ModelFiles:
    """The model at a path, unchecked: it is the user's own."""
    folder, chosen = _chosen(ref)
    return ModelFiles(
        name=str(ref),
        format=chosen.format,
        weights=tuple(folder / name for name in chosen.weights),
        files={name: folder / name for name in (*chosen.weights, *chosen.others)},
    )


def plan_in_place(ref: ModelRef, name: ModelRef, listener: Listener) -> Plan:
    """What adding it under `name` means. Every byte is read, so that a later change is noticed."""
    folder, chosen = _chosen(ref)
    files = [_hashed(folder, one, one in chosen.weights, listener) for one in (*chosen.weights, *chosen.others)]
    return Plan(
        ref=name,
        origin=PlaceOrigin(folder),
        format=chosen.format,
        variant=chosen.quant or FORMAT_WORDS[chosen.format],
        reason="it lies there",
        files=tuple(files),
        folder=folder,
        free=free_space(folder),
    )


def shelved_in_place(plan: Plan) -> tuple[ShelvedFile, ...]:
    """The files of such a plan, as the shelf remembers them."""
    return tuple(
        ShelvedFile(one.name, one.size, one.digest, one.weights, modified=one.path.stat().st_mtime_ns)
        for one in plan.files
    )


def _chosen(ref: ModelRef) -> tuple[Path, Chosen]:
    path = ref.path.expanduser().absolute()
    if ref.kind is Kind.FOLDER:
        if not path.is_dir():
            raise NoWeights(str(ref), "is a file, not a folder" if path.exists() else "there is no such folder")
        return path, choose_files(str(ref), _names(path), one_gguf=True)
    if not path.is_file():
        raise NoWeights(str(ref), "there is no such file")
    return path.parent, choose_file(str(ref), path.name, _names(path.parent))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise NoWeights(str(folder), f"cannot be listed: {error.strerror}") from error


def _hashed(folder: Path, name: str, weights: bool, listener: Listener) -> PlannedFile:
    path = folder / name
    listener(Verifying(name))
    size = path.stat().st_size
    if weights and not size:
        raise NoWeights(str(path), "is empty")
    digest = hash_file(path, lambda done, total: listener(Progress(name, done, total))).sha256
    return PlannedFile(name, size, digest, weights, path, size)
