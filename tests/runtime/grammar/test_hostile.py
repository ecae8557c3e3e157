"""What was made to hurt is refused by its field, or followed like any other; nothing hangs, nothing grows."""

import json
import os
import threading
from time import monotonic
from typing import Any

import jsonschema
import numpy as np
import psutil
import pytest

from unillm.runtime.errors import InvalidParameter, TooManyForms
from unillm.runtime.grammar import compiler
from unillm.runtime.grammar.compiler import Grammars
from unillm.runtime.grammar.forms import Form
from unillm.runtime.grammar.guide import Bits, Guide
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.fakes import ByteTokenizer
from unillm.tests.runtime.grammar.hostile import GRAMMARS, REGEXES, SCHEMAS
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.hosts import until

END = 257
STEPS = 60
KINDS = {"schema": SCHEMAS, "regex": REGEXES, "grammar": GRAMMARS}
CASES = [(field, text) for field, texts in KINDS.items() for text in texts.values()]
NAMES = [f"{field}: {name}" for field, texts in KINDS.items() for name in texts]


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars("the tests' model", ByteTokenizer(), 258)


def walked(guide: Guide) -> bytes | None:
    """What comes of the last letter that may follow, each time; None where it does not end soon, or the guide fails."""
    said = b""
    for _ in range(STEPS):
        bits: Bits = np.zeros((1, guide.words), dtype=np.uint32)
        guide.fill(bits, [()])
        allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        if guide.failure is not None or not len(allowed):
            return None
        if END in allowed:
            return said
        token = int(allowed[-1])
        said += bytes([token])
        guide.saw(token)
        if guide.is_complete:
            return said
    return None


def followed(grammars: Grammars, field: str, text: str) -> bytes | InvalidParameter | None:
    """What comes of it, or why it was refused."""
    try:
        params = SamplingParams(**{field: text})  # type: ignore[arg-type]
        assert params.form is not None
        return walked(grammars.guide(params.form, [END]))
    except InvalidParameter as error:
        return error


@pytest.mark.parametrize(("field", "text"), CASES, ids=NAMES)
def test_it_is_refused_by_its_field_or_followed(grammars: Grammars, field: str, text: str) -> None:
    began = monotonic()
    said = followed(grammars, field, text)
    assert monotonic() - began < HANGS
    if isinstance(said, InvalidParameter):
        assert said.field == field
        assert len(str(said)) < 1000
    elif said is not None and field == "schema":
        jsonschema.validate(json.loads(said), json.loads(text))


def test_what_takes_too_long_is_refused_and_others_go_on(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def slow(*_: object) -> None:
        goes_on.wait(HANGS)

    with monkeypatch.context() as patched:
        patched.setattr("unillm.runtime.grammar.compiler._compile", slow)
        patched.setattr("unillm.runtime.grammar.compiler.PATIENCE", 0.05)
        with pytest.raises(InvalidParameter, match="seconds to understand"):
            grammars.prepare(Form("regex", "slow"))
    grammars.prepare(Form("regex", "quick"))
    goes_on.set()


def test_who_waits_behind_slow_forms_is_not_refused_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars("the tests' model", ByteTokenizer(), 258)
    goes_on, real = threading.Event(), compiler._compile

    def slow(form: Form, tokens: Any) -> Any:
        if form.text == "quick":
            return real(form, tokens)
        goes_on.wait(HANGS)
        return form.refused("too slow")

    monkeypatch.setattr(compiler, "_compile", slow)
    monkeypatch.setattr(compiler, "PATIENCE", 0.2)
    for text in ("slow", "slower"):
        with pytest.raises(InvalidParameter, match="seconds to understand"):
            grammars.prepare(Form("choice", text))
    with pytest.raises(InvalidParameter, match="seconds to understand"):
        grammars.prepare(Form("choice", "slow"))  # which is told at once: it has had its time
    threading.Timer(0.5, goes_on.set).start()  # longer than anybody's patience
    grammars.prepare(Form("regex", "quick"))
    monkeypatch.setattr(compiler, "LONGEST_WAIT", 0.0)
    goes_on.clear()
    for text in ("a", "b"):
        with pytest.raises(InvalidParameter):
            grammars.prepare(Form("choice", text))
    with pytest.raises(TooManyForms, match="behind those of others"):
        grammars.prepare(Form("choice", "c"))
    goes_on.set()


def test_a_refusal_is_remembered(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, compiled, real = Form("regex", "never(closed"), 0, compiler._compile

    def counted(form: Form, tokens: Any) -> Any:
        nonlocal compiled
        compiled += form == asked  # a thread that an earlier test left at work compiles others
        return real(form, tokens)

    monkeypatch.setattr(compiler, "_compile", counted)
    said = set()
    for _ in range(3):
        with pytest.raises(InvalidParameter) as refused:
            grammars.prepare(asked)
        said.add(str(refused.value))
    assert len(said) == compiled == 1


def test_what_every_form_needs_can_be_ready_before_the_first() -> None:
    grammars = Grammars("the tests' model", ByteTokenizer(), 258)
    grammars.make_ready()
    until(lambda: grammars._tokens is not None)
    Grammars("a model without words", None, 258).make_ready()


@pytest.mark.slow
def test_many_forms_are_not_kept_for_ever(grammars: Grammars) -> None:
    process = psutil.Process(os.getpid())
    sizes = []
    for number in range(5000):
        schema = {"type": "object", "properties": {f"p{number}": {"type": "string", "maxLength": 9}}}
        walked(grammars.guide(Form("schema", json.dumps(schema)), [END]))
        if number % 1000 == 999:
            sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[0] < 50 << 20


def test_what_nothing_can_match_is_said_in_words(grammars: Grammars) -> None:
    refused = followed(grammars, "schema", '{"$ref": "#"}')
    assert isinstance(refused, InvalidParameter)
    assert str(refused).endswith("nothing can match it")


def test_a_choice_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="choice"):
        SamplingParams(choice=[])
