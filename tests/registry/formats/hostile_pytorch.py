"""PyTorch checkpoints that nobody should load, each with words of the complaint that it must cause.

Those that call something would, under a plain unpickler, leave the file `canary` behind.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from zlib import compressobj, crc32

from unillm.tests.registry.formats.checkpoint_bytes import (
    LEGACY_START,
    Archive,
    Entry,
    counts,
    dictionary,
    integer,
    legacy,
    many,
    members,
    name,
    pickled,
    storage,
    tensor,
    text,
    zipped,
)

Case = tuple[str, bytes, str]

SOUND = dictionary(weight=tensor(storage()))

CALLABLES = {
    "os": ["system", "popen", "execv", "spawnl", "remove", "putenv"],
    "posix": ["system"],
    "nt": ["system"],
    "subprocess": ["Popen", "call", "check_output", "getoutput"],
    "builtins": ["eval", "exec", "compile", "open", "getattr", "__import__", "breakpoint"],
    "__builtin__": ["eval", "apply", "file"],
    "pty": ["spawn"],
    "runpy": ["run_path", "_run_code"],
    "pdb": ["run"],
    "timeit": ["timeit"],
    "cProfile": ["run"],
    "profile": ["run"],
    "code": ["interact"],
    "importlib": ["import_module"],
    "imp": ["load_source"],
    "ctypes": ["CDLL"],
    "socket": ["create_connection"],
    "urllib.request": ["urlopen"],
    "webbrowser": ["open"],
    "shutil": ["rmtree"],
    "operator": ["attrgetter"],
    "functools": ["partial"],
    "types": ["CodeType", "FunctionType"],
    "marshal": ["loads"],
    "pickle": ["loads"],
    "_pickle": ["loads"],
    "dill": ["loads"],
    "numpy": ["load"],
    "torch": ["load"],
    "torch.hub": ["load"],
    "torch.jit": ["load"],
    "torch.ops": ["load_library"],
    "torch.utils.cpp_extension": ["load"],
    "torch.storage": ["_load_from_bytes"],
    "torch._utils": ["_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"],
    "torch._tensor": ["_rebuild_from_type_v2"],
    "torch.nn.modules.linear": ["Linear"],
    "torch.distributed.rpc": ["remote"],
    "collections": ["Counter"],
    "collections.OrderedDict": ["fromkeys"],
    "torch.FloatStorage": ["from_file"],
}


def cases(canary: Path) -> Iterator[Case]:
    yield from calls(canary)
    yield from opcodes(canary)
    yield from values()
    yield from tensors()
    yield from archives()
    yield from legacies()
    yield from others()


def calls(canary: Path) -> Iterator[Case]:
    command = text(f"touch {canary}")
    for module, attribute in ((module, attribute) for module, some in CALLABLES.items() for attribute in some):
        function = f"{module}.{attribute}"
        call = name(module, attribute) + many(command) + b"R"
        yield f"{function} in a zip", zipped(call), f"refers to '{function}'"
        yield f"{function} in a tensor's place", zipped(dictionary(weight=call)), f"refers to '{function}'"
        yield f"{function} in the legacy container", legacy(call), f"refers to '{function}'"
    late = SOUND + name("os", "system") + many(command) + b"R0"
    yield "a call behind the tensors", zipped(late), "refers to 'os.system'"
    yield "a call in the version", LEGACY_START[:15] + pickled(name("os", "system") + many(command) + b"R"), "refers to"


def opcodes(canary: Path) -> Iterator[Case]:
    command = text(f"touch {canary}")
    forms = {
        "STACK_GLOBAL": text("os") + text("system") + b"\x93" + many(command) + b"R",
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(" + name("collections", "OrderedDict") + command + b"o",
        "NEWOBJ": name("collections", "OrderedDict") + many(command) + b"\x81",
        "NEWOBJ_EX": name("collections", "OrderedDict") + many(command) + b"}\x92",
        "EXT1": b"\x82\x01" + many(command) + b"R",
        "EXT2": b"\x83\x01\x00" + many(command) + b"R",
        "EXT4": b"\x84\x01\x00\x00\x00" + many(command) + b"R",
        "PERSID": b"Pstorage\n",
        "DUP": b"}2",
        "POP_MARK": b"}(1",
        "SETITEM on a list": b"]" + text("a") + command + b"s",
        "APPEND to a dictionary": b"}" + command + b"a",
        "UNICODE": b"Vos\n",
        "STRING": b"S'os'\n",
        "INT": b"I12345678901234567890\n",
        "LONG": b"L" + b"9" * 100_000 + b"L\n",
        "LONG4": b"\x8b\xff\xff\xff\x7f" + bytes(8),
        "FLOAT": b"F1.5\n",
        "BINBYTES8": b"\x8e" + pack("<Q", 2**62) + b"abc",
        "BINUNICODE8": b"\x8d" + pack("<Q", 2**62) + b"abc",
        "BYTEARRAY8": b"\x96" + pack("<Q", 2**40) + b"abc",
        "NEXT_BUFFER": b"\x97",
        "FRAME": b"\x95" + pack("<Q", 2**62) + b"}",
        "MEMOIZE": b"}\x94",
        "PUT": b"}p0\n",
        "GET": b"g0\n",
        "EMPTY_SET": b"\x8f",
        "a second protocol": b"\x80\x04}",
    }
    for form, value in forms.items():
        yield f"{form} in a zip", zipped(value), "data.pkl at byte"
        yield f"{form} in the legacy container", legacy(value), "tensors at byte"
    for byte in (0x00, 0xFF, 0x20):
        yield f"opcode {byte}", zipped(bytes([byte])), "uses pickle's opcode"


def values() -> Iterator[Case]:
    broken = "is broken"
    yield "nothing on the stack", zipped(b""), broken
    yield "a mark that is not there", zipped(b"t"), broken
    yield "a value that was not memorised", zipped(b"h\7"), broken
    yield "a memory of nothing", zipped(b"q\0"), broken
    yield "a large memory", zipped(b"}r\xff\xff\xff\xff" + b"j\xff\xff\xff\xfe"), broken
    yield "a string of 4 GB", zipped(b"X\xff\xff\xff\xffabc"), "holds a string"
    yield "a string that is longer than the file", zipped(b"X\xff\xff\0\0abc"), "are left|the archive"
    yield "no end", bytes(Archive([Entry("archive/data.pkl", b"\x80\x02}")])), "takes 1 bytes, 0 are left|data.pkl"
    yield "something behind the pickle", zipped(SOUND + b"." + name("os", "system")), "something follows its end"
    yield "an endless global", zipped(b"c" + b"a" * 10_000), "has no end"
    yield "half a surrogate pair", zipped(dictionary(**{"\ud800": tensor(storage())})), "not UTF-8"
    yield "a list", zipped(b"]"), "is a list, not a dictionary"
    yield "a number", zipped(integer(5)), "is a int, not a dictionary"
    yield "a tensor alone", zipped(tensor(storage())), "not a dictionary of tensors"
    yield "a function", zipped(name("torch", "FloatStorage")), "not a dictionary of tensors"
    yield "a state dictionary in another", zipped(dictionary(model=SOUND)), "entry 'model'.*is a dict, not a tensor"
    yield "a number among tensors", zipped(dictionary(step=integer(7))), "entry 'step'.*is a int, not a tensor"
    yield "a storage among tensors", zipped(dictionary(raw=storage())), "entry 'raw'"
    yield "a number for a name", zipped(b"}" + integer(1) + tensor(storage()) + b"s"), "entry 1"
    yield "a tuple for a name", zipped(b"})" + tensor(storage()) + b"s"), "neither a string nor a number"
    yield "attributes of a tensor", zipped(tensor(storage()) + b"}b"), "sets attributes"
    yield "an odd number of items", zipped(b"}(" + text("a") + b"u"), "sets an item"
    yield "a call of a string", zipped(text("os") + b")R"), "calls what is not a function"
    yield (
        "a call of a storage class",
        zipped(name("torch", "FloatStorage") + many(integer(10**15)) + b"R"),
        "calls torch",
    )
    yield (
        "a dictionary of nonsense",
        zipped(name("collections", "OrderedDict") + many(b"]" + text("ab") + b"a") + b"R"),
        "sets",
    )
    doubled = b"]q\0" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
    yield "2^60 numbers of lists", zipped(doubled), "not a dictionary"
    yield "a list in itself", zipped(b"]q\0h\0a"), "not a dictionary"


def tensors() -> Iterator[Case]:
    def one(value: bytes, data: bytes = bytes(16)) -> bytes:
        return zipped(dictionary(weight=value), data)

    inside = "does not lie inside its storage"
    yield "an expanded number", one(tensor(storage(), (10**6, 10**6), (0, 0))), inside
    yield "an expanded row", one(tensor(storage(), (3, 2), (0, 1))), inside
    yield "an offset beyond the end", one(tensor(storage(), (2, 2), (2, 1), 1)), inside
    yield "an enormous offset", one(tensor(storage(), (2, 2), (2, 1), 2**61)), inside
    yield "an enormous stride", one(tensor(storage(), (2, 2), (2**61, 1))), inside
    yield "a shape too large", one(tensor(storage(), (3, 2), (2, 1))), inside
    plain_numbers = "not plain numbers from zero up"
    yield "a negative offset", one(tensor(storage(), (2, 2), (2, 1), -1)), plain_numbers
    yield "a negative size", one(tensor(storage(), (-2, -2), (2, 1))), plain_numbers
    yield "a negative stride", one(tensor(storage(), (2, 2), (-2, 1))), plain_numbers
    yield "a size of 100 digits", one(tensor(storage(), (10**100, 1), (1, 1))), plain_numbers
    yield "fewer strides than sizes", one(tensor(storage(), (2, 2), (1,))), "2 dimensions and 1 strides"
    yield "65 dimensions", one(tensor(storage(), (1,) * 65, (1,) * 65)), "at most 64 numbers"
    yield "a shape in words", one(tensor(storage()).replace(counts((2, 2)), text("22"))), "at most 64 numbers"
    yield "notes on a tensor", one(tensor(storage(), (2, 2), (2, 1), 0, dictionary(neg=b"\x88"))), "with notes"
    for numel in (3, 5, 2**31, 2**62, 10**30):
        yield (
            f"a storage of {numel} numbers",
            one(tensor(storage(numel=numel), (1,), (1,))),
            "storage '0'.*has 16 bytes",
        )
    yield "a storage of -1 numbers", one(tensor(storage(numel=-1), (1,), (1,))), "storage of -1 numbers"
    yield "a storage of another kind", one(tensor(storage("DoubleStorage"))), "storage '0'.*its tensors need 32"
    yield "a storage that is not there", one(tensor(storage(key="1"))), "storage '1'.*is not there"
    lost = storage(key="1", numel=2**60) + b"0" + SOUND
    yield "an enormous storage that no tensor keeps", zipped(lost), "storage '1'.*is not there"
    lost = storage(numel=2**60) + b"0" + SOUND
    yield "a storage of two sizes", zipped(lost), "something else of storage '0'"
    lost = tensor(storage(), (10**6, 10**6), (0, 0)) + b"0" + SOUND
    yield "an expanded number that is not kept", zipped(lost), inside
    yield "a storage by a path", one(tensor(storage(key="../data/0"))), "is not there; its tensors need"
    yield "a storage of no kind", one(tensor(storage("SparseStorage"))), "refers to 'torch.SparseStorage'"
    two = dictionary(a=tensor(storage()), b=tensor(storage("HalfStorage", "0", 8), (8,), (1,)))
    yield "a storage of two kinds", zipped(two), "something else of storage '0'"
    yield "a module's source", one(many(text("module"), text("a"), text("b"), text("c")) + b"Q"), "not a storage"
    yield "a number from outside", one(integer(0) + b"Q"), "not a storage"
    yield (
        "a tensor of text",
        one(name("torch._utils", "_rebuild_tensor_v2") + many(text("x")) + b"R"),
        "torch.save does not",
    )


def archives() -> Iterator[Case]:
    good = members(SOUND)
    pkl, order, data, version = good
    for entry in good:
        damaged = [Entry(e.name, e.data, crc=crc32(e.data) ^ 1) if e is entry else e for e in good]
        yield f"a wrong checksum of {entry.name}", bytes(Archive(damaged)), "is damaged: its checksum"
    for flags in (0x0001, 0x0040, 0x2000, 0x0020):
        flagged = Entry(pkl.name, pkl.data, flags=flags)
        yield f"flags {flags:#x}", bytes(Archive([flagged, order, data, version])), "compressed or encrypted"
    yield from compressed(good)
    other = Entry(pkl.name, pkl.data, local_name="archive/data.pk_")
    yield "another name in the member", bytes(Archive([other, order, data])), "says something else in its own header"
    other = Entry(pkl.name, pkl.data, local_flags=1)
    yield "other flags in the member", bytes(Archive([other, order, data])), "says something else in its own header"
    other = Entry(pkl.name, pkl.data, local_method=8)
    yield "another method in the member", bytes(Archive([other, order, data])), "says something else in its own header"
    other = Entry(pkl.name, pkl.data, local_size=3)
    yield "another size in the member", bytes(Archive([other, order, data])), "by its own header"
    yield "a size beyond the end", bytes(Archive([Entry(pkl.name, pkl.data, size=2**31)])), "are left|header"
    yield (
        "a 64-bit size that is not there",
        bytes(Archive([Entry(pkl.name, pkl.data, size=2**32 - 1)])),
        "lacks its 64-bit",
    )
    large = pack("<HHQQ", 1, 16, 2**63, 2**63)
    yield (
        "a size of 2^63",
        bytes(Archive([Entry(pkl.name, pkl.data, size=2**32 - 1, extra=large)])),
        "are left|header",
    )
    yield "a member twice", bytes(Archive([pkl, order, data, pkl])), "is there twice"
    yield (
        "two members in one place",
        bytes(Archive([*good, Entry("archive/data/1", data.data, header=0)])),
        "does not follow",
    )
    yield "two folders", bytes(Archive([*good, Entry("other/data.pkl", pkl.data)])), "no data.pkl in one folder"
    yield "no folder", bytes(Archive([Entry("data.pkl", pkl.data)])), "no data.pkl in one folder"
    yield "no data.pkl", bytes(Archive([order, data, version])), "no data.pkl"
    yield "no members", bytes(Archive([])), "nothing that unillm knows"
    for path in (
        "../../escape",
        "archive/../../escape",
        "/etc/passwd",
        "archive//data",
        "archive/",
        "..",
        "archive/..",
    ):
        yield f"a member {path}", bytes(Archive([*good, Entry(path, b"x")])), "leaves its folder or is none"
    for path in ("archive\\..\\escape", "C:/escape", "archive/a\0b", "archive/a\nb", "archive/a\x1b[2J"):
        yield f"a member {path!r}", bytes(Archive([*good, Entry(path, b"x")])), "leaves its folder or is none"
    yield "an executable member", bytes(Archive([*good, Entry("archive/setup.py", b"x")])), "not written by torch.save"
    script = [*good, Entry("archive/code/__torch__.py", b"x"), Entry("archive/constants.pkl", b"x")]
    yield "a TorchScript program", bytes(Archive(script)), "a TorchScript program"
    yield "big-endian numbers", bytes(Archive([pkl, Entry(order.name, b"big"), data])), "does not say little"
    yield "a program before it", bytes(Archive(good, prefix=b"MZ" + bytes(62))), "this is a program"
    yield "a zip before it", bytes(Archive(good, prefix=bytes(Archive(good)))), "does not follow|directory"
    yield "something behind it", bytes(Archive(good, suffix=b"x")), "no zip archive ends here"
    yield "a comment", bytes(Archive(good, comment=b"x" * 30)), "no zip archive ends here"
    for count in (0, 3, 5, 65_535):
        yield f"{count} members of 4", bytes(Archive(good, count=count)), "cannot be|something follows|does not|entry 4"
    for start in (0, 7, 2**31, 2**32 - 1):
        yield f"a directory at {start}", bytes(Archive(good, start=start)), "does not end where the end begins"
    for length in (0, 46, 2**31):
        yield f"a directory of {length} bytes", bytes(Archive(good, length=length)), "does not end where the end begins"
    yield "a second disk", bytes(Archive(good, disk=1)), "does not end where the end begins"
    whole = bytes(Archive(good))
    for size in range(4, len(whole), 7):
        yield f"cut at {size}", whole[:size], "no zip archive ends here"


def compressed(good: list[Entry]) -> Iterator[Case]:
    packer = compressobj(wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    entry = Entry("archive/data/1", bomb, method=8, size=256 << 20)
    yield "256 MiB in 260 kB", bytes(Archive([*good, entry])), "compressed or encrypted"
    for method in (1, 8, 9, 12, 14, 93, 99):
        squeezed = Entry(good[0].name, good[0].data, method=method)
        yield f"compression {method}", bytes(Archive([squeezed, *good[1:]])), "compressed or encrypted"


def legacies() -> Iterator[Case]:
    whole = legacy(SOUND)
    for size in range(16, len(whole), 5):
        yield f"legacy cut at {size}", whole[:size], "are left|at byte"
    yield "another version", LEGACY_START[:15] + pickled(integer(1002)) + pickled(b"}"), "version.*is not 1001"
    big = LEGACY_START + pickled(dictionary(little_endian=b"\x89"))
    yield "legacy big-endian numbers", big, "not little-endian"
    yield "a machine in words", LEGACY_START + pickled(text("little")), "not little-endian"
    for numel in (3, 5, 2**31, 2**62, 2**64 - 1):
        yield (
            f"legacy storage of {numel} numbers",
            legacy(SOUND, data=pack("<Q", numel) + bytes(16)),
            "the tensors say 4",
        )
    yield (
        "legacy something behind it",
        legacy(SOUND, data=pack("<Q", 4) + bytes(17)),
        "something follows the last storage",
    )
    enormous = dictionary(weight=tensor(storage(numel=2**60)))
    yield "legacy 2^60 numbers", legacy(enormous, data=pack("<Q", 2**60) + bytes(16)), "are left"
    lost = storage(key="1", numel=2**60) + b"0" + SOUND
    yield "legacy an enormous storage that no tensor keeps", legacy(lost), "are not those that the tensors lie in"
    lying = pack("<Q", 4) + bytes(16) + pack("<Q", 2**60) + bytes(16)
    yield "legacy an enormous storage with a key", legacy(lost, ("0", "1"), lying), "are left"
    yield "legacy a key too many", legacy(SOUND, ("0", "1")), "are not those that the tensors lie in"
    yield "legacy a key twice", legacy(SOUND, ("0", "0")), "are not those that the tensors lie in"
    yield "legacy no key", legacy(SOUND, ()), "are not those that the tensors lie in"
    view = many(text("1"), integer(0), integer(2**60))
    whole = legacy(SOUND).replace(b"NtQ", view + b"tQ")
    yield "legacy a view of a storage", whole, "not a storage"


def others() -> Iterator[Case]:
    yield "a bare pickle", pickled(SOUND), "a bare pickle"
    yield "a bare pickle of protocol 4", b"\x80\x04\x95" + bytes(20), "a bare pickle"
    yield "a 7z archive", b"7z\xbc\xaf\x27\x1c" + bytes(50), "a 7z archive"
    yield "a gzip archive", b"\x1f\x8b\x08" + bytes(50), "a gzip archive"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    yield "a tar archive", packed.getvalue(), "a tar archive"
