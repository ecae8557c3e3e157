"""Tokenizers of published models, in every kind of file that they come in: they load, and lose nothing.

The references are the packages that the files were written for: tokenizers, sentencepiece, tiktoken.
"""

import base64
import json
from pathlib import Path

import pytest
import sentencepiece
import tiktoken
from tokenizers import Tokenizer as Reference

from unillm.registry.files import ModelFiles
from unillm.runtime.text.detokenizer import Detokenizer
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import TEXT
from unillm.tests.support.packages import mistral_tokenizers, offline_tokenizers

pytestmark = [pytest.mark.weights, pytest.mark.slow]

TEXTS = (
    *TEXT,
    "",
    " ",
    "\n\n\n",
    " leading and trailing ",
    " " * 40 + "x",
    "x" * 100,
    "\u0001\u007f",
    "👩‍👩‍👧‍👦🇩🇪 ½ ³ \u3000 ﬁ",
)
# Has no token for a line's end, and none for bytes: what it does not know is lost, in the reference too.
LOSSY = ("jiutian-139moe-chat",)
MISTRAL_PIECES = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
    "mistral_instruct_tokenizer_241114.model.v7m1",
)


def loaded(**files: Path) -> Tokenizer:
    tokenizer = load_tokenizer(ModelFiles("published", "safetensors", (), dict(files.items())))
    assert tokenizer is not None
    return tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text as it comes out of an answer, a token at a time."""
    reader = Detokenizer(tokenizer)
    return "".join(reader.push([token]) for token in ids) + reader.finish()


def test_those_of_44_models_load_and_round_trip() -> None:
    folders = sorted(path.parent for path in offline_tokenizers().glob("*/tokenizer.json"))
    assert len(folders) == 44
    for folder in folders:
        ours = loaded(**{path.name: path for path in folder.iterdir() if path.is_file()})
        theirs = Reference.from_file(str(folder / "tokenizer.json"))
        for text in TEXTS:
            ids = ours.encode(text, bos=False)
            assert ids == theirs.encode(text, add_special_tokens=False).ids, (folder.name, text)
            assert ours.decode(ids) == streamed(ours, ids) == theirs.decode(ids), (folder.name, text)
            if folder.name not in LOSSY:
                assert ours.decode(ids) == text, (folder.name, text)


@pytest.mark.parametrize("name", MISTRAL_PIECES)
def test_mistrals_sentencepiece_models_are_sentencepieces(name: str) -> None:
    path = mistral_tokenizers() / name
    ours, theirs = loaded(**{"tokenizer.model": path}), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert (ours.vocab_size, ours.bos_id, ours.eos_ids) == (
        theirs.vocab_size(),
        theirs.bos_id(),
        frozenset({theirs.eos_id()}),
    )
    for text in TEXTS:
        ids = ours.encode(text, bos=False)
        assert ids == theirs.encode(text), text
        assert ours.decode(ids) == streamed(ours, ids) == text


@pytest.mark.parametrize("name", ["tekken_240718.json", "tekken_240911.json"])
def test_mistrals_tekken_files_are_tiktokens(name: str) -> None:
    path = mistral_tokenizers() / name
    ours, found = loaded(**{"tekken.json": path}), json.loads(path.read_bytes())
    front = found["config"]["default_num_special_tokens"]
    known = found["vocab"][: found["config"]["default_vocab_size"] - front]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in known}
    theirs = tiktoken.Encoding(name, pat_str=found["config"]["pattern"], mergeable_ranks=ranks, special_tokens={})
    for text in TEXTS:
        ids = ours.encode(text, bos=False)
        assert ids == [token + front for token in theirs.encode_ordinary(text)], text
        assert ours.decode(ids) == streamed(ours, ids) == text
