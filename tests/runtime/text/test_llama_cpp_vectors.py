"""The vocabularies that ship with llama.cpp, against the ids that ship beside them."""

import pytest

from unillm.registry.files import ModelFiles
from unillm.runtime.text.detokenizer import Detokenizer
from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.support.packages import llama_cpp_source

pytestmark = pytest.mark.weights

SEPARATOR = "\n__ggml_vocab_test__\n"
WITH_VECTORS = (
    *("command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "mpt"),
    *("phi-3", "qwen2", "qwen35", "refact", "starcoder"),
)
# For the three without vectors: what llama.cpp itself answers, asked once by hand.
SENTENCE = "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～  (a+b)*c\n\n\tдва"
WITHOUT_VECTORS = {
    "aquila": [
        22299,
        12,
        471,
        7,
        758,
        1,
        2789,
        616,
        535,
        89937,
        224,
        221,
        31,
        7227,
        344,
        29632,
        711,
        23147,
        48983,
        17,
        723,
        43868,
        253,
        257,
        8,
        65,
        11,
        66,
        5506,
        67,
        982,
        198,
        9045,
        70850,
    ],
    "baichuan": [
        24568,
        31125,
        721,
        31155,
        824,
        80,
        1710,
        782,
        739,
        31106,
        38294,
        31106,
        81,
        10988,
        31173,
        23523,
        1249,
        53,
        55,
        53,
        56,
        53,
        57,
        53,
        31239,
        32864,
        31106,
        762,
        31109,
        31340,
        31127,
        31145,
        31251,
        31118,
        5,
        5,
        6,
        31649,
        5725,
    ],
    "gpt-neox": [
        12092,
        13,
        340,
        8,
        455,
        2,
        1359,
        403,
        368,
        49042,
        212,
        209,
        32,
        15367,
        41197,
        13610,
        19934,
        41869,
        21275,
        17015,
        30977,
        18,
        40120,
        20422,
        241,
        50276,
        9,
        66,
        12,
        67,
        2888,
        68,
        535,
        186,
        5129,
        22704,
    ],
}


def load(name: str) -> Tokenizer:
    path = llama_cpp_source() / "models" / f"ggml-vocab-{name}.gguf"
    tokenizer = load_tokenizer(ModelFiles(name, "gguf", (path,)))
    assert tokenizer is not None
    return tokenizer


def vectors(name: str) -> list[tuple[str, list[int]]]:
    path = llama_cpp_source() / "models" / f"ggml-vocab-{name}.gguf.inp"
    texts = path.read_bytes().decode().split(SEPARATOR)
    lines = path.with_suffix(".out").read_text().split("\n")
    pairs = [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=False)]
    assert len(pairs) >= 46
    return pairs


@pytest.mark.parametrize("name", WITH_VECTORS)
def test_ids_are_those_of_the_vectors(name: str) -> None:
    tokenizer = load(name)
    for text, ids in vectors(name):
        assert tokenizer.encode(text, bos=False) == ids, text


@pytest.mark.parametrize("name", WITHOUT_VECTORS)
def test_ids_are_those_of_llama_cpp(name: str) -> None:
    assert load(name).encode(SENTENCE, bos=False) == WITHOUT_VECTORS[name]


@pytest.mark.parametrize("name", [*WITH_VECTORS, *WITHOUT_VECTORS])
def test_text_comes_back_token_by_token(name: str) -> None:
    tokenizer = load(name)
    for text, _ in vectors("qwen35"):
        ids = tokenizer.encode(text, bos=False)
        detokenizer = Detokenizer(tokenizer)
        assert tokenizer.decode(ids) == text
        assert "".join([*map(detokenizer.push, ([id_] for id_ in ids)), detokenizer.finish()]) == text


@pytest.mark.parametrize("name", [*WITH_VECTORS, *WITHOUT_VECTORS])
def test_no_special_token_comes_of_text(name: str) -> None:
    tokenizer = load(name)
    for token in filter(tokenizer.is_special, range(tokenizer.vocab_size)):
        text = f"say {tokenizer.token(token)} aloud"
        ids = tokenizer.encode(text, bos=False)
        assert not any(map(tokenizer.is_special, ids)), text
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ["bert-bge", "nomic-bert-moe"])
def test_a_kind_of_vocabulary_that_is_not_known_is_named(name: str) -> None:
    with pytest.raises(TokenizerFault, match=r"tokenizer\.ggml\.model: '(bert|t5)' is not a tokenizer"):
        load(name)
