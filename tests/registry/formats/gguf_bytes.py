"""GGUF files made byte by byte, so that a test can say anything in them, also what no writer would."""

from dataclasses import dataclass, field
from struct import pack

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LAYOUTS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return pack("<Q", len(raw)) + raw


def number(kind: int, value: float) -> bytes:
    return pack("<" + LAYOUTS[kind], value)


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return string(name) + pack("<I", kind) + value


def text_key(name: str, value: str) -> bytes:
    return key(name, STRING, string(value))


def array_key(name: str, kind: int, items: list[bytes], count: int | None = None) -> bytes:
    return key(name, ARRAY, pack("<IQ", kind, len(items) if count is None else count) + b"".join(items))


def tensor(name: str | bytes, dims: list[int], kind: int, offset: int, num_dims: int | None = None) -> bytes:
    sizes = b"".join(pack("<Q", size) for size in dims)
    return string(name) + pack("<I", len(dims) if num_dims is None else num_dims) + sizes + pack("<IQ", kind, offset)


@dataclass(frozen=True)
class GGUFBytes:
    """A file of these keys, tensor entries and data; counts may lie."""

    keys: list[bytes] = field(default_factory=lambda: [text_key("general.architecture", "llama")])
    tensors: list[bytes] = field(default_factory=list)
    data: bytes = b""
    version: int = 3
    num_keys: int | None = None
    num_tensors: int | None = None
    alignment: int = 32

    def header(self) -> bytes:
        num_keys = len(self.keys) if self.num_keys is None else self.num_keys
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        counts = pack("<IQQ", self.version, num_tensors, num_keys)
        return b"GGUF" + counts + b"".join(self.keys) + b"".join(self.tensors)

    def __bytes__(self) -> bytes:
        head = self.header()
        padding = -len(head) % self.alignment if self.alignment > 0 else 0
        return head + bytes(padding) + self.data if self.tensors or self.data else head


def plain(**changes: object) -> GGUFBytes:
    """A sound little file of two tensors."""
    entries = [tensor("a", [4, 2], 0, 0), tensor("b", [32], 2, 32)]
    sound: dict[str, object] = {"tensors": entries, "data": bytes(range(32)) + bytes(18)}
    return GGUFBytes(**{**sound, **changes})  # type: ignore[arg-type]
