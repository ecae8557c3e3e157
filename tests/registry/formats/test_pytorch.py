"""PyTorch checkpoints: what torch.save writes is understood, and nothing else reaches torch."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unillm.registry.errors import FormatError
from unillm.registry.formats.pytorch import check_pytorch
from unillm.tests.registry.formats import hostile_pytorch
from unillm.tests.registry.formats.checkpoint_bytes import (
    Archive,
    Entry,
    dictionary,
    legacy,
    many,
    members,
    name,
    pickled,
    storage,
    tensor,
    text,
)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def state() -> OrderedDict[str, Tensor]:
    shared = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    held: OrderedDict[str, Tensor] = OrderedDict(
        matrix=shared,
        tied=shared,
        turned=shared.t(),
        rows=shared[1:3],
        parameter=nn.Parameter(torch.ones(3)),
        scalar=torch.tensor(2.5),
        nothing=torch.empty(0, 4),
        **{f"a {word}": torch.ones(2, 3).to(dtype) for word, dtype in DTYPES.items()},
    )
    held._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    return held


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_what_torch_saves_is_understood(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(state(), path, _use_new_zipfile_serialization=new)
    container = check_pytorch(path)
    assert container.kind == ("zip" if new else "legacy")
    assert {name: found.shape for name, found in container.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in state().items()
    }
    for word in DTYPES:
        assert container.tensors[f"a {word}"].dtype == word
        assert container.tensors[f"a {word}"].nbytes == state()[f"a {word}"].nbytes
    assert container.storage_bytes == 96 + 12 + 4 + sum(6 * dtype.itemsize for dtype in DTYPES.values())


@pytest.mark.parametrize("wrapped", [dict, lambda items: nn.ParameterDict(items).state_dict()], ids=["dict", "module"])
def test_a_plain_dictionary_is_as_good_as_a_state(tmp_path: Path, wrapped: object) -> None:
    path = tmp_path / "model.pt"
    assert callable(wrapped)
    torch.save(wrapped({"a": torch.ones(2)}), path)
    assert list(check_pytorch(path).tensors) == ["a"]


def test_the_builder_of_hostile_files_can_build_a_sound_one(tmp_path: Path) -> None:
    """So that what is refused below is refused for its one fault."""
    path = tmp_path / "model.bin"
    for content in (bytes(Archive(members(hostile_pytorch.SOUND))), legacy(hostile_pytorch.SOUND)):
        path.write_bytes(content)
        assert check_pytorch(path).tensors["weight"].shape == (2, 2)
        assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.zeros(2, 2))


def test_pickles_of_python_2_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    weight = tensor(storage()).replace(text("storage"), b"U\7storage").replace(text("cpu"), b"U\3cpu")
    pairs = b"](" + many(text("weight"), weight) + b"e"
    value = name("collections", "OrderedDict") + many(pairs) + b"R"
    path.write_bytes(legacy(value))
    assert check_pytorch(path).tensors["weight"].dtype == "F32"


def test_sizes_repeated_behind_the_data_are_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    first = Entry("archive/data.pkl", pickled(dictionary(weight=tensor(storage()))), flags=0x0808, local_size=0)
    rest = members(b"")[1:]
    whole = bytes(Archive([first, *rest]))
    with_description = bytes(Archive(rest, prefix=first.local() + b"PK\7\x08" + bytes(12)))
    assert whole != with_description
    path.write_bytes(whole)
    assert list(check_pytorch(path).tensors) == ["weight"]


CANARY = Path("canary")
HOSTILE = list(hostile_pytorch.cases(CANARY))


@pytest.mark.parametrize(("content", "complaint"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=complaint) as caught:
        check_pytorch(path)
    assert caught.value.file == path
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= len(content)
    assert list(tmp_path.iterdir()) == [path]


def test_things_that_torch_saves_but_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    things = {
        "refers to 'torch.nn.modules.linear.Linear'": nn.Linear(2, 2),
        "refers to 'torch._utils._rebuild_sparse_tensor'": {"a": torch.eye(3).to_sparse()},
        "refers to 'torch._utils._rebuild_meta_tensor_no_storage'": {"a": torch.empty(3, device="meta")},
        "does not lie inside its storage": {"a": torch.zeros(1).expand(10**4, 10**4)},
        "entry 'a'.*is a list": {"a": [torch.ones(1)]},
        "entry 'epoch'.*is a int": {"epoch": 3, "a": torch.ones(1)},
    }
    for complaint, thing in things.items():
        for new in (True, False):
            if new or "meta" not in complaint:
                torch.save(thing, path, _use_new_zipfile_serialization=new)
                with pytest.raises(FormatError, match=complaint):
                    check_pytorch(path)


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    program = bytes(Archive([*members(hostile_pytorch.SOUND), Entry("archive/code/a.py", b"")]))
    path.write_bytes(program)
    with pytest.raises(FormatError, match="a TorchScript program"):
        check_pytorch(path)
