import pytest

from unillm.registry.errors import NoWeights, VariantNotFound
from unillm.registry.selection import choose_file, choose_files
from unillm.registry.variants import label_in, split_quantisation

ORIGINAL = ["README.md", "LICENSE", "config.json", "tokenizer.json", "generation_config.json", "modeling_x.py"]
QUANTISED = ["README.md", *(f"Tiny-{quant}.gguf" for quant in ("Q2_K", "Q4_K_M", "Q8_0", "f16")), "Tiny.imatrix"]


def test_safetensors_come_before_bin_and_no_program_comes_at_all() -> None:
    chosen = choose_files("here", [*ORIGINAL, "pytorch_model.bin", "model.safetensors", "onnx/model.onnx"])
    assert chosen.format == "safetensors"
    assert chosen.weights == ("model.safetensors",)
    assert set(chosen.others) == {"LICENSE", "config.json", "tokenizer.json", "generation_config.json"}


def test_parts_come_in_order_with_their_index() -> None:
    parts = [f"model-0000{n}-of-00003.safetensors" for n in (3, 1, 2)]
    chosen = choose_files("here", [*ORIGINAL, "consolidated.safetensors", *parts, "model.safetensors.index.json"])
    assert chosen.weights == tuple(sorted(parts))
    assert "model.safetensors.index.json" in chosen.others


def test_a_missing_part_is_told() -> None:
    with pytest.raises(NoWeights, match="of 3 parts of the weights, number 2 is missing"):
        choose_files("here", ["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"])


def test_bin_is_taken_where_there_is_nothing_else() -> None:
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"]
    chosen = choose_files("here", [*ORIGINAL, *names])
    assert (chosen.format, len(chosen.weights)) == ("pytorch", 2)
    assert "pytorch_model.bin.index.json" in chosen.others


def test_an_adapter_is_not_a_model() -> None:
    with pytest.raises(NoWeights):
        choose_files("here", [*ORIGINAL, "adapter_model.safetensors"])


def test_the_usual_quantisation_is_taken() -> None:
    chosen = choose_files("here", QUANTISED)
    assert (chosen.format, chosen.weights, chosen.quant) == ("gguf", ("Tiny-Q4_K_M.gguf",), "Q4_K_M")


@pytest.mark.parametrize(("quant", "name"), [("Q8_0", "Tiny-Q8_0.gguf"), ("F16", "Tiny-f16.gguf")])
def test_the_wanted_quantisation_is_taken(quant: str, name: str) -> None:
    assert choose_files("here", QUANTISED, quant).weights == (name,)


def test_a_quantisation_that_is_not_there_comes_with_those_that_are() -> None:
    with pytest.raises(VariantNotFound) as caught:
        choose_files("org/repo", QUANTISED, "Q5_K_M")
    assert caught.value.available == ["Q2_K", "Q4_K_M", "Q8_0", "F16"]
    with pytest.raises(VariantNotFound, match="org/repo has no Q4_0"):
        choose_files("org/repo", [*ORIGINAL, "model.safetensors"], "Q4_0")


def test_a_quantisation_may_lie_in_a_folder_and_in_parts() -> None:
    parts = [f"Big-Q8_0/Big-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert choose_files("here", ["Big-Q4_K_M.gguf", *parts], "Q8_0").weights == tuple(parts)


def test_a_projector_is_not_the_model() -> None:
    assert choose_files("here", ["mmproj-x-f16.gguf", "x-Q4_0.gguf"]).weights == ("x-Q4_0.gguf",)


def test_the_pattern_of_the_catalogue_tells_models_of_one_repository_apart() -> None:
    names = ["small-Q4_0.gguf", "large-Q4_0.gguf"]
    assert choose_files("here", names, "Q4_0", "LARGE-{quant}.gguf").weights == ("large-Q4_0.gguf",)


def test_several_models_in_one_folder_are_nobodys_guess() -> None:
    with pytest.raises(NoWeights, match="holds 2 GGUF models: name one file"):
        choose_files("./dir", ["a-Q4_0.gguf", "b-Q4_0.gguf"], one_gguf=True)


def test_neither_is_which_of_several_checkpoints_is_meant() -> None:
    with pytest.raises(
        NoWeights, match=r"holds 2 files of weights that are not one model's, RWKV-1\.pth and RWKV-2\.pth"
    ):
        choose_files("here", ["RWKV-2.pth", "RWKV-1.pth", "README.md"])


def test_one_file_brings_its_parts_and_what_lies_beside_it() -> None:
    parts = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]
    chosen = choose_file("here", parts[1], [*ORIGINAL, *parts, "other.safetensors"])
    assert chosen.weights == tuple(parts)
    assert "config.json" in chosen.others


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Meta-Llama-3-8B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q5_K_S.gguf", "Q5_K_S"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("Phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Qwen3-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Llama-IQ4_XS.gguf", "IQ4_XS"),
        ("Q8_0/x-00001-of-00002.gguf", "Q8_0"),
        ("model.gguf", None),
    ],
)
def test_a_file_name_tells_its_quantisation(name: str, label: str | None) -> None:
    assert label_in(name) == label


@pytest.mark.parametrize(
    ("tag", "base", "quant"),
    [
        ("8b-q8_0", "8b", "Q8_0"),
        ("8b-instruct-q4_K_M", "8b-instruct", "Q4_K_M"),
        ("q4_0", "", "Q4_0"),
        ("8b-fp16", "8b", "F16"),
        ("8b", "8b", None),
        ("8b-q8_0-x", "8b-q8_0-x", None),
    ],
)
def test_a_tag_ends_in_a_quantisation_or_has_none(tag: str, base: str, quant: str | None) -> None:
    found, wanted = split_quantisation(tag)
    assert (found, wanted.quant) == (base, quant)
