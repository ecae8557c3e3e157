"""tiktoken's files: a line for each token, its bytes in base64 and its rank.

Neither the rule for words nor the special tokens stand in them, so they are known by family: Llama 3 calls the file
`tokenizer.model`, the first Qwen `qwen.tiktoken`. A file of another family is refused.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import normalizers

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .errors import TokenizerFault
from .gathering import gather
from .panics import guarded
from .pieces import spelt_in_letters
from .ranks import add_special, ranked_pipeline
from .splits import LLAMA3, QWEN2
from .tokenizer_checks import MAX_FILE
from .vocabulary import Vocabulary

QWEN_FILE = "qwen.tiktoken"


@dataclass(frozen=True, slots=True)
class Family:
    """`special` are the names behind the tokens, in order; `roles` the names that templates know some of them by.

    `ends` are those that end an answer besides EOS; `composed` has text brought to Unicode's form NFC first.
    """

    pattern: str
    special: tuple[str, ...]
    roles: Mapping[str, str]
    ends: tuple[str, ...]
    composed: bool = False


def _llama3() -> Family:
    named = (
        *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
        *("<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
        *("<|eot_id|>", "<|python_tag|>", "<|image|>"),
    )
    reserved = tuple(f"<|reserved_special_token_{number}|>" for number in range(2, 246))
    roles = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return Family(LLAMA3, named + reserved, roles, ("<|eot_id|>", "<|eom_id|>"))


def _qwen() -> Family:
    extra = tuple(f"<|extra_{number}|>" for number in range(205))
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra)
    return Family(QWEN2, special, {"eos_token": "<|endoftext|>"}, ("<|im_end|>",), composed=True)


def is_tiktoken(start: bytes) -> bool:
    """Whether a file that begins so may be one: base64, then a number, on each line."""
    return re.match(rb"[A-Za-z0-9+/]+=* \d+\r?\n", start) is not None


def read_tiktoken(files: ModelFiles, name: str) -> Vocabulary:
    """The vocabulary of the file `name` of a folder."""
    path = files.files[name]
    source = str(path)
    family = _family(files, name)
    tokens = _tokens(path)
    special = {text: len(tokens) + number for number, text in enumerate(family.special)}
    pipeline = guarded(source, "file", lambda: ranked_pipeline(tokens, special, family.pattern, source))
    if family.composed:
        pipeline.normalizer = normalizers.NFC()
    add_special(pipeline, family.special)
    return gather(files, source, pipeline, family.roles, spelt_in_letters, ends=family.ends)


def _family(files: ModelFiles, name: str) -> Family:
    if name == QWEN_FILE:
        return _qwen()
    known: Mapping[object, Callable[[], Family]] = {"llama": _llama3}
    kind = read_json_object(files.files["config.json"]).get("model_type") if "config.json" in files.files else None
    if kind not in known:
        reason = f"is a list of ranks of a family that unillm has no rule for words for: {kind or 'none is named'}"
        raise TokenizerFault(str(files.files[name]), "config.json: model_type", reason)
    return known[kind]()


def _tokens(path: Path) -> Sequence[bytes]:
    """The tokens by rank; every rank from 0 on is there."""
    if path.stat().st_size > MAX_FILE:
        raise TokenizerFault(str(path), "file", f"has more than {MAX_FILE} bytes")
    ranks: dict[int, bytes] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            spelt, rank = parts
            token = base64.b64decode(spelt, validate=True)
            if ranks.setdefault(int(rank), token) is not token:
                raise ValueError("its rank was there before")
        except ValueError as error:
            raise TokenizerFault(str(path), f"line {number}", f"is not a token and its rank: {error}") from error
    if ranks.keys() != set(range(len(ranks))):
        raise TokenizerFault(str(path), "ranks", f"are not 0 to {len(ranks) - 1}, each once")
    return [ranks[rank] for rank in range(len(ranks))]
