"""PyTorch checkpoints made byte by byte: pickles of any opcodes, zip archives that say anything."""

from dataclasses import dataclass, field
from struct import pack
from zlib import crc32

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03."


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return b"c" + f"{module}\n{attribute}\n".encode()


def many(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def counts(values: tuple[int, ...]) -> bytes:
    return many(*map(integer, values))


def storage(kind: str = "FloatStorage", key: str = "0", numel: int = 4, *view: bytes) -> bytes:
    return many(text("storage"), name("torch", kind), text(key), text("cpu"), integer(numel), *view) + b"Q"


def tensor(
    held: bytes, shape: tuple[int, ...] = (2, 2), strides: tuple[int, ...] = (2, 1), offset: int = 0, *more: bytes
) -> bytes:
    hooks = name("collections", "OrderedDict") + b")R"
    where = (integer(offset), counts(shape), counts(strides))
    return name("torch._utils", "_rebuild_tensor_v2") + many(held, *where, b"\x89", hooks, *more) + b"R"


def dictionary(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def legacy(value: bytes, keys: tuple[str, ...] = ("0",), data: bytes = pack("<Q", 4) + bytes(16)) -> bytes:
    """The older container; each storage in `value` gets the note that it is no view of another."""
    value = value.replace(b"tQ", b"NtQ")
    machine = dictionary(protocol_version=integer(1001), little_endian=b"\x88")
    listed = b"](" + b"".join(map(text, keys)) + b"e"
    return LEGACY_START + pickled(machine) + pickled(value) + pickled(listed) + data


@dataclass(frozen=True)
class Entry:
    """A member of an archive; what is None is told truly. The local header may say something else."""

    name: str
    data: bytes
    flags: int = 0x0800
    method: int = 0
    crc: int | None = None
    size: int | None = None
    local_name: str | None = None
    local_flags: int | None = None
    local_size: int | None = None
    local_method: int | None = None
    header: int | None = None
    extra: bytes = b""

    def local(self) -> bytes:
        raw = (self.name if self.local_name is None else self.local_name).encode()
        flags = self.flags if self.local_flags is None else self.local_flags
        size = len(self.data) if self.local_size is None else self.local_size
        method = self.method if self.local_method is None else self.local_method
        fields = (20, flags, method, 0, 0, crc32(self.data), size, size, len(raw), 0)
        return pack("<4sHHHHHIIIHH", b"PK\3\4", *fields) + raw + self.data

    def central(self, at: int) -> bytes:
        raw = self.name.encode()
        size = len(self.data) if self.size is None else self.size
        crc = crc32(self.data) if self.crc is None else self.crc
        header = at if self.header is None else self.header
        sizes = (len(raw), len(self.extra), 0, 0, 0, 0, header)
        fields = pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, self.flags, self.method, 0, 0, crc, size, size, *sizes)
        return fields + raw + self.extra


@dataclass(frozen=True)
class Archive:
    """A zip archive of these entries; its end may lie."""

    entries: list[Entry] = field(default_factory=list)
    prefix: bytes = b""
    suffix: bytes = b""
    comment: bytes = b""
    count: int | None = None
    start: int | None = None
    length: int | None = None
    disk: int = 0

    def __bytes__(self) -> bytes:
        parts, entries, at = [self.prefix], [], len(self.prefix)
        for entry in self.entries:
            entries.append(entry.central(at))
            parts.append(entry.local())
            at += len(parts[-1])
        body, directory = b"".join(parts), b"".join(entries)
        count = len(self.entries) if self.count is None else self.count
        start = len(body) if self.start is None else self.start
        length = len(directory) if self.length is None else self.length
        end = pack("<4sHHHHIIH", b"PK\5\6", self.disk, 0, count, count, length, start, len(self.comment))
        return body + directory + end + self.comment + self.suffix


def members(value: bytes, data: bytes = bytes(16)) -> list[Entry]:
    """What torch.save writes for a pickled value with one storage."""
    return [
        Entry("archive/data.pkl", pickled(value)),
        Entry("archive/byteorder", b"little"),
        Entry("archive/data/0", data),
        Entry("archive/version", b"3\n"),
    ]


def zipped(value: bytes, data: bytes = bytes(16)) -> bytes:
    return bytes(Archive(members(value, data)))
