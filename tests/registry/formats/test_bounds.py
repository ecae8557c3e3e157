"""The worst that files can do within the readers' limits: each answer comes soon and takes little memory.

Every file is read in a process of its own, so that its peak is its own.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest

from unillm.tests.registry.formats.checkpoint_bytes import Archive, Entry
from unillm.tests.registry.formats.gguf_bytes import ARRAY, STRING, U8, GGUFBytes, array_key, key, string, tensor
from unillm.tests.registry.formats.hostile_safetensors import file
from unillm.tests.support.hangs import HANGS

MEGABYTES = 200

# Prints the seconds (of the processor, whatever else runs) and bytes that reading one file takes; the bytes are None
# where the system does not tell.
MEASURE = """
import json, sys, time
from importlib import import_module
from pathlib import Path
from unillm.registry.errors import FormatError

def peak():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)

module, name, path = sys.argv[1:]
read = getattr(import_module("unillm.registry.formats." + module), name)
before, start = peak(), time.process_time()
try:
    read(Path(path))
    complaint = ""
except FormatError as error:
    complaint = str(error)
seconds, after = time.process_time() - start, peak()
print(json.dumps([seconds, None if after is None else after - before, complaint[:300]]))
"""

WIDE = "\U0001f600"  # one of these makes a whole string take four times as much memory


def ggufs() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "a million small strings", lambda: GGUFBytes(keys=[array_key("x", STRING, [string("\u0100")] * 1_048_576)])
    wide = "é" + "a" * 6 + WIDE
    yield "a million wide strings", lambda: GGUFBytes(keys=[array_key("x", STRING, [string(wide)] * 1_048_576)])
    yield "a long wide text", lambda: GGUFBytes(keys=[key("x", STRING, string("a" * 15_900_000 + WIDE))])
    yield (
        "as many numbers as fit",
        lambda: GGUFBytes(
            keys=[key(f"k{i}", ARRAY, pack("<IQ", U8, 15_900_000) + bytes(15_900_000)) for i in range(4)]
        ),
    )
    yield (
        "as many tensors as fit",
        lambda: GGUFBytes(tensors=[tensor(f"t{i}", [1] * 4, 24, i * 32) for i in range(65_536)], data=bytes(1 << 21)),
    )


def safetensors() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "100 MB of blanks", lambda: file(b"{" + b" " * 99_999_998 + b"}", b"")
    yield "a name of 50 million line breaks", lambda: file(b'{"' + b"\\n" * 49_000_000 + b'"}', b"")
    yield "33 million lists", lambda: file(b'{"a":{"x":[' + b"[]," * 33_000_000 + b"[]]}}", b"")
    entry = '"%d%s":{"dtype":"U8","shape":[1,1],"data_offsets":[%d,%d]}'
    entries = (entry % (index, "a" * 200 + WIDE, index, index + 1) for index in range(65_000))
    yield "as many tensors as fit", lambda: file("{" + ",".join(entries) + "}", bytes(65_000))


def checkpoints() -> Iterator[tuple[str, Callable[[], object]]]:
    def opcodes(repeated: bytes, times: int) -> Callable[[], object]:
        return lambda: Archive([Entry("archive/data.pkl", b"\x80\x02" + repeated * times + b".")])

    yield "a million dictionaries", opcodes(b"}", 999_990)
    yield "100 million dictionaries", opcodes(b"}", 100_000_000)
    yield "a million strings", opcodes(b"X\2\0\0\0\xc4\x80", 999_000)
    yield "300 000 numbers of 600 digits", opcodes(b"\x8a\xff" + b"\1" * 255, 330_000)
    yield (
        "a memory full of holes",
        lambda: Archive(
            [
                Entry(
                    "archive/data.pkl",
                    b"\x80\x02}" + b"".join(b"r" + pack("<I", i * 4096) for i in range(999_000)) + b".",
                )
            ]
        ),
    )
    yield "as many members as fit", lambda: Archive([Entry(f"archive/data/{i}", b"") for i in range(65_000)])


def indexes() -> Iterator[tuple[str, Callable[[], object]]]:
    many = ",".join(f'"{index}":"model.safetensors"' for index in range(262_144))
    yield "as many tensors as fit", lambda: f'{{"weight_map":{{{many}}}}}'.encode()
    yield "15 million numbers", lambda: b'{"x":[' + b"1," * 15_000_000 + b"1]}"


def configs() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "a million lists", lambda: b'{"a":[' + b"[]," * 1_330_000 + b"1]}"
    yield "half a million dictionaries", lambda: b'{"a":[' + b'{"":1},' * 570_000 + b"1]}"


READERS = {
    ("gguf", "read_gguf"): ggufs,
    ("safetensors", "read_safetensors"): safetensors,
    ("pytorch", "check_pytorch"): checkpoints,
    ("index", "read_index"): indexes,
    ("json_file", "read_json_object"): configs,
}
CASES = [(*reader, name, make) for reader, cases in READERS.items() for name, make in cases()]


@pytest.mark.parametrize(
    ("module", "reader", "make"),
    [(module, reader, make) for module, reader, _, make in CASES],
    ids=[f"{module}: {name}" for module, _, name, _ in CASES],
)
def test_the_worst_files_are_answered_soon_and_in_little_memory(
    tmp_path: Path, module: str, reader: str, make: Callable[[], object]
) -> None:
    path = tmp_path / "file"
    content = make()
    path.write_bytes(content if isinstance(content, bytes) else content.__bytes__())  # type: ignore[attr-defined]
    command = [sys.executable, "-c", MEASURE, module, reader, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seconds, taken, _ = json.loads(answer.stdout)
    path.unlink()
    assert seconds < HANGS
    if taken is None:
        pytest.skip("this system does not tell a process's peak of memory; the time was within its bound")
    assert taken < MEGABYTES * 1_000_000
