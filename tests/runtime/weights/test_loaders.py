"""The three loaders: the same tensors whatever the format, where they lie in the files."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unillm.models.blocks import PACKED_KINDS, dequantize
from unillm.models.contract import Part
from unillm.models.errors import WeightsError
from unillm.models.quantized import QuantizedTensor
from unillm.registry.errors import FormatError
from unillm.registry.files import ModelFiles
from unillm.registry.formats.ggml_types import GGML_TYPES, GGML_TYPES_BY_NAME
from unillm.registry.formats.sniff import Format
from unillm.runtime.weights import gguf as gguf_weights
from unillm.runtime.weights.grids import GRID_KINDS, on_grid
from unillm.runtime.weights.load import open_weights
from unillm.tests.registry.formats.gguf_bytes import U32, GGUFBytes, array_key, number, string, tensor, text_key
from unillm.tests.registry.formats.hostile_safetensors import file
from unillm.tests.registry.formats.test_mutations import changed

Writer = Callable[[Path], ModelFiles]

STRING = 8
GGML_NUMBERS = {kind.name: number for number, kind in GGML_TYPES.items()}
TENSORS = {
    "model.norm.weight": torch.linspace(-1, 1, 6),
    "model.embed_tokens.weight": torch.arange(48, dtype=torch.float32).reshape(8, 6) / 7,
    "half": torch.arange(12).reshape(2, 6).to(torch.bfloat16),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "nothing": torch.empty(0, 6),
}


def in_folder(folder: Path, kind: Format, *weights: str) -> ModelFiles:
    config = folder / "config.json"
    config.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": 6}))
    paths = tuple(folder / name for name in weights)
    return ModelFiles("tiny", kind, paths, {path.name: path for path in (*paths, config)})


def safetensors(folder: Path) -> ModelFiles:
    save_file(TENSORS, folder / "model.safetensors")
    return in_folder(folder, "safetensors", "model.safetensors")


def safetensors_shards(folder: Path) -> ModelFiles:
    names = [f"model-{index:05}-of-00005.safetensors" for index in range(1, 6)]
    for name, (key, value) in zip(names, TENSORS.items(), strict=True):
        save_file({key: value}, folder / name)
    return in_folder(folder, "safetensors", *names)


def checkpoint(folder: Path) -> ModelFiles:
    torch.save(TENSORS, folder / "pytorch_model.bin")
    return in_folder(folder, "pytorch", "pytorch_model.bin")


def old_checkpoint(folder: Path) -> ModelFiles:
    torch.save(TENSORS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return in_folder(folder, "pytorch", "pytorch_model.bin")


def checkpoint_shards(folder: Path) -> ModelFiles:
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    halves = (dict(list(TENSORS.items())[:2]), dict(list(TENSORS.items())[2:]))
    for name, half in zip(names, halves, strict=True):
        torch.save(half, folder / name)
    return in_folder(folder, "pytorch", *names)


@pytest.mark.parametrize("write", [safetensors, safetensors_shards, checkpoint, old_checkpoint, checkpoint_shards])
def test_every_tensor_loads_as_it_was_saved(tmp_path: Path, write: Writer) -> None:
    weights = open_weights(write(tmp_path))
    assert sorted(weights.tensor_names()) == sorted(TENSORS)
    for name, saved in TENSORS.items():
        loaded = weights.load_tensor(name)
        assert isinstance(loaded, Tensor)
        assert loaded.dtype == saved.dtype
        assert torch.equal(loaded, saved)
    assert weights.metadata.architecture == "LlamaForCausalLM"
    assert weights.metadata.config["hidden_size"] == 6
    assert weights.nbytes == sum(saved.nbytes for saved in TENSORS.values())
    assert weights.stored_dtype in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("write", [safetensors, checkpoint])
def test_a_part_is_a_slice_and_a_view(tmp_path: Path, write: Writer) -> None:
    weights = open_weights(write(tmp_path))
    name = "model.embed_tokens.weight"
    whole = weights.load_tensor(name)
    assert isinstance(whole, Tensor)
    for part, wanted in ((Part(0, 2, 5), whole[2:5]), (Part(1, 1, 4), whole[:, 1:4])):
        sliced = weights.load_tensor(name, part)
        assert isinstance(sliced, Tensor)
        assert torch.equal(sliced, wanted)
        assert sliced.data_ptr() == wanted.data_ptr()


@pytest.mark.parametrize("write", [safetensors, checkpoint])
def test_a_name_that_is_not_there_is_an_error_with_the_name(tmp_path: Path, write: Writer) -> None:
    weights = open_weights(write(tmp_path))
    assert not weights.has_tensor("lm_head.weight")
    with pytest.raises(WeightsError, match=r"lm_head\.weight") as caught:
        weights.load_tensor("lm_head.weight")
    assert caught.value.missing == ["lm_head.weight"]


@pytest.mark.parametrize("write", [safetensors, checkpoint])
def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, write: Writer) -> None:
    files = write(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(files.weights[0].read_bytes())
    with pytest.raises(FormatError, match=f"is in {files.weights[0].name} already"):
        open_weights(ModelFiles("tiny", files.format, (*files.weights, other), files.files))


@pytest.mark.parametrize(
    ("write", "stem"), [(safetensors_shards, "model.safetensors"), (checkpoint_shards, "pytorch_model.bin")]
)
def test_an_index_names_the_files_that_are_loaded(tmp_path: Path, write: Writer, stem: str) -> None:
    files = write(tmp_path)
    index = tmp_path / f"{stem}.index.json"
    indexed = ModelFiles("tiny", files.format, files.weights, {**files.files, index.name: index})
    sound = dict.fromkeys(TENSORS, files.weights[0].name)
    index.write_text(json.dumps({"weight_map": sound}))
    assert len(open_weights(indexed).tensor_names()) == len(TENSORS)
    for name, complaint in (
        ("../escape", r"'a'.*not the name of a file beside it"),
        ("other", "file 'other'.*is not among"),
    ):
        index.write_text(json.dumps({"weight_map": {**sound, "a": name}}))
        with pytest.raises(FormatError, match=complaint):
            open_weights(indexed)
    index.write_text(json.dumps({"weight_map": sound, "metadata": {"total_size": 9 * 10**15}}))
    with pytest.raises(FormatError, match=r"'total_size'.*the files hold"):
        open_weights(indexed)


def test_numbers_at_odd_addresses_are_read(tmp_path: Path) -> None:
    """Old writers did not pad the header."""
    numbers = torch.tensor([1.5, -2.25])
    header = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    header += " " * (1 - len(header) % 2)
    (tmp_path / "model.safetensors").write_bytes(file(header, numbers.numpy().tobytes()))
    loaded = open_weights(in_folder(tmp_path, "safetensors", "model.safetensors")).load_tensor("a")
    assert isinstance(loaded, Tensor)
    assert torch.equal(loaded, numbers)


def test_a_dtype_that_torch_lacks_is_named_with_its_tensor(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}
    (tmp_path / "model.safetensors").write_bytes(file(header, bytes(3)))
    weights = open_weights(in_folder(tmp_path, "safetensors", "model.safetensors"))
    with pytest.raises(FormatError, match=r"tensor 'a'.*F6_E2M3"):
        weights.load_tensor("a")


def test_writing_to_a_tensor_never_reaches_the_file(tmp_path: Path) -> None:
    files = safetensors(tmp_path)
    before = files.weights[0].read_bytes()
    loaded = open_weights(files).load_tensor("model.embed_tokens.weight")
    assert isinstance(loaded, Tensor)
    loaded.fill_(7)
    assert files.weights[0].read_bytes() == before


def test_a_file_that_shrank_since_it_was_looked_at_is_noticed(tmp_path: Path) -> None:
    files = safetensors(tmp_path)
    weights = open_weights(files)
    files.weights[0].write_bytes(files.weights[0].read_bytes()[:-100])
    with pytest.raises(FormatError, match="the file changed"):
        [weights.load_tensor(name) for name in weights.tensor_names()]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"config\.json: file: is not there"),
        ("{", r"config\.json.*is not JSON"),
        ("[]", r"config\.json.*is not a JSON object"),
        ("{}", "'architectures'"),
        ('{"architectures": []}', "'architectures'"),
        ('{"architectures": "LlamaForCausalLM"}', "'architectures'"),
        ('{"architectures": [7]}', "'architectures'"),
    ],
)
@pytest.mark.parametrize("write", [safetensors, checkpoint])
def test_a_folder_whose_config_does_not_say_the_architecture_is_refused(
    tmp_path: Path, write: Writer, content: str | None, complaint: str
) -> None:
    files = write(tmp_path)
    present = dict(files.files)
    if content is None:
        del present["config.json"]
    else:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(FormatError, match=complaint):
        open_weights(ModelFiles("tiny", files.format, files.weights, present))


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_changed_checkpoint_loads_as_it_was_looked_through_or_is_refused(tmp_path: Path, new: bool) -> None:
    saved = io.BytesIO()
    torch.save(TENSORS, saved, _use_new_zipfile_serialization=new)
    files = in_folder(tmp_path, "pytorch", "pytorch_model.bin")
    loaded = 0
    for content in changed(saved.getvalue(), seed=12):
        files.weights[0].write_bytes(content)
        try:
            weights = open_weights(files)
            loaded += all(weights.load_tensor(name) is not None for name in weights.tensor_names())
        except FormatError:
            continue
    assert loaded > 0


# GGUF


def one_tensor(folder: Path, kind: str, shape: list[int], data: bytes, *keys: bytes) -> ModelFiles:
    path = folder / "model.gguf"
    entry = tensor("a", list(reversed(shape)), GGML_NUMBERS[kind], 0)
    path.write_bytes(bytes(GGUFBytes([text_key("general.architecture", "llama"), *keys], [entry], data)))
    return ModelFiles("tiny", "gguf", (path,))


def random_blocks(kind: str, rows: int, blocks: int) -> bytes:
    """Blocks of random bytes, as an encoder of random numbers makes them where there is one."""
    random = np.random.default_rng(5)
    number = gguf.GGMLQuantizationType[kind]
    elements = GGML_TYPES_BY_NAME[kind].elements
    try:
        return gguf.quants.quantize(random.standard_normal((rows, blocks * elements), np.float32), number).tobytes()
    except NotImplementedError:
        return random.integers(0, 256, rows * blocks * GGML_TYPES_BY_NAME[kind].nbytes, dtype=np.uint8).tobytes()


def test_every_ggml_type_is_plain_or_packed_or_decoded_or_refused() -> None:
    refused = {"Q8_1", "Q8_K", "Q1_0"}
    known = (gguf_weights.DTYPES.keys(), PACKED_KINDS, GRID_KINDS, gguf_weights.DECODED_KINDS, refused)
    assert sorted(GGML_TYPES_BY_NAME) == sorted(name for names in known for name in names)


@pytest.mark.parametrize("kind", sorted(PACKED_KINDS))
def test_a_usual_kind_stays_packed_in_the_file(tmp_path: Path, kind: str) -> None:
    block = GGML_TYPES_BY_NAME[kind]
    files = one_tensor(tmp_path, kind, [3, 2 * block.elements], random_blocks(kind, 3, 2))
    weights = open_weights(files)
    packed = weights.load_tensor("a")
    assert isinstance(packed, QuantizedTensor)
    assert (packed.kind, packed.shape, packed.data.shape) == (kind, (3, 2 * block.elements), (3, 2 * block.nbytes))
    assert weights.nbytes == packed.nbytes
    assert_same(packed.dequantize(), reference(files))
    rows = weights.load_tensor("a", Part(0, 1, 3))
    columns = weights.load_tensor("a", Part(1, block.elements, 2 * block.elements))
    assert isinstance(rows, QuantizedTensor)
    assert isinstance(columns, QuantizedTensor)
    assert_same(rows.dequantize(), reference(files)[1:])
    assert_same(columns.dequantize(), reference(files)[:, block.elements :])
    with pytest.raises(ValueError, match="blocks"):
        weights.load_tensor("a", Part(1, 0, block.elements - 1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # random bytes have scales that are no numbers
@pytest.mark.parametrize("kind", sorted(GRID_KINDS))
def test_a_kind_with_a_grid_has_four_bits_and_a_scale_in_memory(tmp_path: Path, kind: str) -> None:
    files = one_tensor(tmp_path, kind, [3, 512], random_blocks(kind, 3, 2))
    weights = open_weights(files)
    packed, rows, columns = (weights.load_tensor("a", part) for part in (None, Part(0, 1, 3), Part(1, 256, 512)))
    assert isinstance(packed, QuantizedTensor)
    assert isinstance(rows, QuantizedTensor)
    assert isinstance(columns, QuantizedTensor)
    assert (packed.kind, packed.shape) == (GRID_KINDS[kind], (3, 512))
    assert weights.nbytes == packed.nbytes == 3 * 2 * 138
    assert_same(packed.dequantize(), reference(files))
    assert_same(rows.dequantize(), reference(files)[1:])
    assert_same(columns.dequantize(), reference(files)[:, 256:])


@pytest.mark.parametrize("kind", sorted(GRID_KINDS))
def test_every_scale_and_every_point_of_a_grid_is_there(kind: str) -> None:
    elements, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = np.random.default_rng(3).integers(0, 256, (5000, nbytes), dtype=np.uint8)
    if kind == "IQ1_M":
        blocks[:, 55] &= 0xBF  # the top of the scale's exponent
    else:
        blocks[:, :2] = np.float16(0.0123).reshape(1).view(np.uint8)
    numbers = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
    assert np.isfinite(numbers).all()
    ours = dequantize(GRID_KINDS[kind], on_grid(kind, torch.from_numpy(blocks)))
    assert torch.equal(ours, torch.from_numpy(numbers))
    assert ours.shape == (5000, elements)


@pytest.mark.parametrize("kind", sorted(gguf_weights.DECODED_KINDS))
def test_another_kind_is_decoded(tmp_path: Path, kind: str) -> None:
    elements = GGML_TYPES_BY_NAME[kind].elements
    files = one_tensor(tmp_path, kind, [3, 2 * elements], random_blocks(kind, 3, 2))
    weights = open_weights(files)
    numbers = weights.load_tensor("a")
    assert isinstance(numbers, Tensor)
    assert numbers.dtype == torch.float32
    assert_same(numbers, reference(files))
    assert weights.nbytes == 4 * 3 * 2 * elements
    part = weights.load_tensor("a", Part(0, 1, 2))
    assert isinstance(part, Tensor)
    assert_same(part, reference(files)[1:2])


@pytest.mark.parametrize("kind", sorted(gguf_weights.DTYPES))
def test_a_plain_type_is_a_view(tmp_path: Path, kind: str) -> None:
    dtype = gguf_weights.DTYPES[kind]
    saved = (torch.arange(12).reshape(3, 4) - 5).to(dtype)
    files = one_tensor(tmp_path, kind, [3, 4], saved.view(torch.uint8).numpy().tobytes())
    loaded = open_weights(files).load_tensor("a")
    assert isinstance(loaded, Tensor)
    assert loaded.dtype == dtype
    assert torch.equal(loaded, saved)


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K", "Q1_0"])
def test_a_type_that_nothing_decodes_is_refused_with_its_tensor(tmp_path: Path, kind: str) -> None:
    block = GGML_TYPES_BY_NAME[kind]
    files = one_tensor(tmp_path, kind, [1, block.elements], bytes(block.nbytes))
    with pytest.raises(FormatError, match=f"tensor 'a'.*{kind}"):
        open_weights(files)


def test_experts_in_three_dimensions_stay_packed(tmp_path: Path) -> None:
    files = one_tensor(tmp_path, "Q4_0", [3, 2, 64], random_blocks("Q4_0", 6, 2))
    weights = open_weights(files)
    packed, part = weights.load_tensor("a"), weights.load_tensor("a", Part(0, 1, 2))
    assert isinstance(packed, QuantizedTensor)
    assert isinstance(part, QuantizedTensor)
    assert packed.shape == (3, 2, 64)
    assert torch.equal(packed.dequantize(), reference(files))
    assert torch.equal(part.dequantize(), reference(files)[1:2])


def test_the_configuration_of_a_gguf_has_no_vocabulary(tmp_path: Path) -> None:
    keys = [
        text_key("tokenizer.ggml.model", "gpt2"),
        array_key("tokenizer.ggml.tokens", STRING, [string("a"), string("b")]),
        array_key("llama.attention.head_count_kv", U32, [number(U32, 2), number(U32, 4)]),
    ]
    metadata = open_weights(one_tensor(tmp_path, "F32", [1], bytes(4), *keys)).metadata
    assert metadata.architecture == "llama"
    assert metadata.config == {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "llama.attention.head_count_kv": [2, 4],
    }


def test_a_gguf_that_does_not_say_its_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for keys in ([], [array_key("general.architecture", U32, [])]):
        path.write_bytes(bytes(GGUFBytes(keys)))
        with pytest.raises(FormatError, match=r"general\.architecture"):
            open_weights(ModelFiles("tiny", "gguf", (path,)))


def test_an_enormous_array_is_no_configuration(tmp_path: Path) -> None:
    keys = [array_key(f"k{index}", U32, [bytes(4_000_000)], 1_000_000) for index in range(2)]
    with pytest.raises(FormatError, match=r"'k1'.*more than 1048576 numbers"):
        open_weights(one_tensor(tmp_path, "F32", [1], bytes(4), *keys))


def assert_same(found: Tensor, wanted: Tensor) -> None:
    """Bit for bit, but that random blocks hold numbers that are none."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def reference(files: ModelFiles) -> Tensor:
    """The tensor of a file as the gguf package reads it."""
    (found,) = gguf.GGUFReader(files.weights[0]).tensors
    with np.errstate(all="ignore"):
        numbers = gguf.quants.dequantize(found.data, found.tensor_type)
    return torch.from_numpy(np.array(numbers)).reshape(tuple(reversed([int(size) for size in found.shape])))
