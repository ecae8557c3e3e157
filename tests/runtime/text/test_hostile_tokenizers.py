"""TT-05: no tokenizer.json takes the process down, keeps it busy for long, or makes it eat memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.runtime.text.tokenizer_checks import check_character_map, check_cuts
from unillm.tests.runtime.text.tiny import (
    byte_level_json,
    changed,
    folder,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
)
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.hostile_tokenizers import hostile_tokenizers

TEXTS = ("hello a b", "a" * 60 + "b", "a" * 50_000, "ab" * 20_000, "\ufdfa\u3300" * 500)
MEMORY = 1 << 30  # bytes that the child may hold on top of what it has when it begins


def try_all(path: Path) -> None:
    """Load each file and have it cut every text; what is raised must be a fault. Runs in a process of its own."""
    import resource
    import time

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for number, (name, source) in enumerate(hostile_tokenizers(byte_level_json())):
        started = time.process_time()
        (path / str(number)).mkdir()
        loaded = faults = 0
        try:
            tokenizer = load_tokenizer(folder(path / str(number), source))
            for text in TEXTS if tokenizer is not None else ():
                loaded, faults = loaded + 1, faults + _fails(tokenizer, text)
        except TokenizerFault:
            faults += 1
        print(json.dumps([name, loaded, faults, time.process_time() - started]), flush=True)


def _fails(tokenizer: object, text: str) -> bool:
    from unillm.runtime.text.tokenizer import Tokenizer

    assert isinstance(tokenizer, Tokenizer)
    try:
        tokenizer.decode(tokenizer.encode(text))
    except TokenizerFault:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the child's memory is bounded as Linux does it")
def test_no_file_takes_the_process_down(tmp_path: Path) -> None:
    code = f"from unillm.tests.runtime.text.test_hostile_tokenizers import *; try_all(Path({str(tmp_path)!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    names = [name for name, _ in hostile_tokenizers(byte_level_json())]
    assert [name for name, *_ in told] == names, ran.stderr[-2000:]
    assert ran.returncode == 0
    assert [name for name, _, _, seconds in told if seconds > HANGS] == []
    assert len(names) >= 36
    assert sum(faults > 0 for _, _, faults, _ in told) > 30


def test_a_gguf_with_tokens_that_have_too_many_cuts_is_refused_at_once() -> None:
    keys = sentencepiece_keys(sentencepiece_model())
    for tokens, reason in (
        (["a" * 1_000_000], "more than 1024 letters"),
        ([f"{number:04}" * 250 for number in range(1000)], "too many tokens that are too long"),
    ):
        with pytest.raises(TokenizerFault, match=f"tokenizer.ggml.tokens: has .*{reason}"):
            from_keys(changed(keys, tokens=tokens, scores=None, token_type=None))


def test_no_published_kind_of_tokenizer_comes_near_the_limits() -> None:
    """Runs of 128 spaces, as code models have them, and a map of characters as large as SentencePiece's own."""
    check_cuts([" " * length for length in range(1, 129)] * 100, "tokens", "m")
    table = (200_000).to_bytes(4, "little") + bytes(200_000) + ("\u0644\u0627" * 16).encode() + b"\0"
    check_character_map(table, "normalizer", "m")
