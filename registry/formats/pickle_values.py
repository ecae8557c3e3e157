"""The pickles of PyTorch checkpoints as plain data: nothing is imported, called or run.

A checkpoint's pickle is a dictionary of tensors, each a storage (by key) with an offset, a shape and strides. Of
pickle's opcodes only those that say this are known here, and of its globals only a dozen; anything else, wherever it
stands, is refused by name. This is also how much a file may say before torch sees it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from struct import Struct
from typing import Final, TypeAlias

from ..errors import FormatError
from .limits import MAX_DIMENSIONS, MAX_OPCODES, MAX_STRING
from .reader import BoundedReader


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function, by name only."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """`numel` numbers of `dtype`, kept elsewhere in the file under `key`."""

    dtype: str
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class StridedTensor:
    """A view of a storage, seen to lie inside it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_Plain: TypeAlias = bool | int | float | str | None
Value: TypeAlias = (
    "_Plain | Global | Storage | StridedTensor | tuple[Value, ...] | list[Value] | dict[str | int, Value]"
)

# Storage classes -> safetensors' words for their dtypes.
STORAGES: Final = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
}
_CALLED: Final = (
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
)
_KNOWN: Final = frozenset((*STORAGES, *_CALLED))
_NO_NOTES: Final[tuple[list[Value], ...]] = ([], [None], [{}])

_I32, _U16, _F64 = Struct("<i"), Struct("<H"), Struct(">d")


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle says, and every storage that it names on the way, by key."""

    value: Value
    storages: dict[str, Storage]


def read_pickle(reader: BoundedReader, field: str, *, views: bool = False) -> Pickle:
    """The pickle at the reader's place, which moves behind it.

    With `views`, as in the legacy container, a storage says which part of another it is: none.
    """
    reading = _Unpickling(reader, field, [None] if views else [])
    return Pickle(reading.run(), reading.storages)


class _Unpickling:
    """One pickle being read: a stack, the stacks below its marks, and what was memorised."""

    def __init__(self, reader: BoundedReader, field: str, view: list[Value]) -> None:
        self.reader, self.field, self.view = reader, field, view
        self.stack: list[Value] = []
        self.below: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Value:
        for _ in range(MAX_OPCODES):
            opcode = self.reader.take(1, self.field)
            if opcode == b".":
                return self.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise self.error(f"uses pickle's opcode {opcode!r}, which no checkpoint of plain tensors needs")
            step(self)
        raise self.error(f"has more than {MAX_OPCODES} pickle opcodes")

    def error(self, reason: str) -> FormatError:
        return self.reader.error(self.field, reason, self.reader.position - 1)

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        if not self.stack:
            raise self.error("is broken: it takes a value where there is none")
        return self.stack.pop()

    def top(self) -> Value:
        if not self.stack:
            raise self.error("is broken: it takes a value where there is none")
        return self.stack[-1]

    def pop_many(self, count: int) -> tuple[Value, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_mark(self) -> list[Value]:
        if not self.below:
            raise self.error("is broken: it goes back to a mark where there is none")
        items, self.stack = self.stack, self.below.pop()
        return items

    def number(self, layout: Struct) -> int | float:
        return self.reader.unpack(layout, self.field)

    def byte(self) -> int:
        return self.reader.take(1, self.field)[0]

    def index(self) -> int:
        return self.reader.u32(self.field)

    def drop(self) -> None:
        self.pop()

    # What the opcodes do

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def global_name(self) -> None:
        name = ".".join(self.line() for _ in range(2))
        if name not in _KNOWN:
            raise self.error(
                f"refers to {name!r}, which no checkpoint of plain tensors needs; loading it could run code"
            )
        self.push(Global(name))

    def line(self) -> str:
        start = self.reader.position
        stop = self.reader.bytes.find(b"\n", start, min(start + 256, self.reader.stop))
        if stop < 0:
            raise self.error("names a global that has no end")
        raw = self.reader.take(stop + 1 - start, self.field)
        return self.reader.decode(raw[:-1], self.field, start)

    def text(self, length: int) -> None:
        if length > MAX_STRING:
            raise self.error(f"holds a string of {length} bytes, more than {MAX_STRING}")
        start = self.reader.position
        raw = self.reader.take(length, self.field)
        self.reader.spend_text(length, self.field)
        self.push(self.reader.decode(raw, self.field, start))

    def long(self) -> None:
        self.push(int.from_bytes(self.reader.take(self.byte(), self.field), "little", signed=True))

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.error(f"is broken: it recalls value {index}, which was not memorised")
        self.push(self.memo[index])

    def append(self, items: Iterable[Value]) -> None:
        target = self.top()
        if type(target) is not list:
            raise self.error("appends to what is not a list")
        target.extend(items)

    def set_items(self, items: tuple[Value, ...] | list[Value]) -> None:
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise self.error("sets an item of what is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise self.error("has a dictionary key that is neither a string nor a number")
            target[key] = value

    def storage(self) -> None:
        match self.pop():
            case ("storage", Global(kind), str(key), str(_), int(numel), *rest) if (
                kind in STORAGES and rest == self.view
            ):
                self.push(self.known(Storage(STORAGES[kind], key, numel)))
            case _:
                raise self.error("refers to something outside the pickle that is not a storage")

    def known(self, storage: Storage) -> Storage:
        """The storage, which no other place in the pickle may describe in another way."""
        if storage.numel < 0:
            raise self.error(f"has a storage of {storage.numel} numbers")
        if self.storages.setdefault(storage.key, storage) != storage:
            raise self.error(f"says something else of storage {storage.key!r} than before")
        return storage

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise self.error("calls what is not a function")
        match function.name, arguments:
            case "collections.OrderedDict", ():
                self.push({})
            case "collections.OrderedDict", ([*pairs],):
                self.push({})
                for pair in pairs:
                    self.set_items(pair if isinstance(pair, list | tuple) else (pair,))
            case "torch._utils._rebuild_tensor", (Storage() as storage, offset, shape, strides):
                self.push(self.tensor(storage, offset, shape, strides))
            case "torch._utils._rebuild_tensor_v2", (
                Storage() as storage,
                offset,
                shape,
                strides,
                bool(),
                dict() as hooks,
                *rest,
            ):
                if hooks or rest not in _NO_NOTES:
                    raise self.error("has a tensor with notes (conjugate, negative), which weights do not have")
                self.push(self.tensor(storage, offset, shape, strides))
            case "torch._utils._rebuild_parameter", (StridedTensor() as tensor, bool(), dict()):
                self.push(tensor)
            case _:
                raise self.error(f"calls {function.name} with arguments that torch.save does not write")

    def tensor(self, storage: Storage, offset: Value, shape: Value, strides: Value) -> StridedTensor:
        sizes, steps = self.counts(shape), self.counts(strides)
        (first,) = self.counts((offset,))
        if len(sizes) != len(steps):
            raise self.error(f"has a tensor of {len(sizes)} dimensions and {len(steps)} strides")
        last = first + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        count = prod(sizes)
        if count > storage.numel or (count and last >= storage.numel):
            reason = f"of shape {list(sizes)} that does not lie inside its storage of {storage.numel} numbers"
            raise self.error(f"has a tensor {reason}")
        return StridedTensor(storage, first, sizes, steps)

    def counts(self, value: Value) -> tuple[int, ...]:
        if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
            raise self.error(f"has a tensor whose shape or strides are not at most {MAX_DIMENSIONS} numbers")
        numbers = [item for item in value if type(item) is int and 0 <= item < 1 << 62]
        if len(numbers) != len(value):
            raise self.error("has a tensor whose offset, shape or strides are not plain numbers from zero up")
        return tuple(numbers)

    def set_attributes(self) -> None:
        """A state dictionary carries a note of module versions, which nobody needs."""
        attributes = self.pop()
        if type(self.top()) is not dict or type(attributes) is not dict:
            raise self.error("sets attributes of something that is not a dictionary")

    def protocol(self) -> None:
        number = self.byte()
        if number != 2:
            raise self.error(f"is of pickle protocol {number}; torch.save writes 2")


_STEPS: Final[dict[bytes, Callable[[_Unpickling], None]]] = {
    b"\x80": _Unpickling.protocol,
    b"(": _Unpickling.mark,
    b"0": lambda self: self.drop(),
    b"N": lambda self: self.push(None),
    b"\x88": lambda self: self.push(True),
    b"\x89": lambda self: self.push(False),
    b"J": lambda self: self.push(self.number(_I32)),
    b"K": lambda self: self.push(self.byte()),
    b"M": lambda self: self.push(self.number(_U16)),
    b"\x8a": _Unpickling.long,
    b"G": lambda self: self.push(self.number(_F64)),
    b"X": lambda self: self.text(self.index()),
    b"U": lambda self: self.text(self.byte()),
    b")": lambda self: self.push(()),
    b"\x85": lambda self: self.push(self.pop_many(1)),
    b"\x86": lambda self: self.push(self.pop_many(2)),
    b"\x87": lambda self: self.push(self.pop_many(3)),
    b"t": lambda self: self.push(tuple(self.pop_mark())),
    b"]": lambda self: self.push([]),
    b"a": lambda self: self.append(self.pop_many(1)),
    b"e": lambda self: self.append(self.pop_mark()),
    b"}": lambda self: self.push({}),
    b"s": lambda self: self.set_items(self.pop_many(2)),
    b"u": lambda self: self.set_items(self.pop_mark()),
    b"q": lambda self: self.remember(self.byte()),
    b"r": lambda self: self.remember(self.index()),
    b"h": lambda self: self.recall(self.byte()),
    b"j": lambda self: self.recall(self.index()),
    b"c": _Unpickling.global_name,
    b"Q": _Unpickling.storage,
    b"R": _Unpickling.call,
    b"b": _Unpickling.set_attributes,
}
