"""The diagrams of unillm-internals(7) show the source as it is."""

from pathlib import Path

import grimp
import pytest

from unillm.unillm_cli.reference import diagrams

ROOT = Path(__file__).parents[3]


def test_the_arrows_are_the_imports() -> None:
    """Against grimp, which import-linter reads imports with."""
    graph = grimp.build_graph("unillm", exclude_type_checking_imports=True)
    packages = {".".join(("unillm", *name.split("/"))): name for one in diagrams.arrows(ROOT) for name in one}
    expected = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = (_package(importer, packages), _package(imported, packages))
            if None not in pair and pair[0] != pair[1]:
                expected.add(pair)
    assert diagrams.arrows(ROOT) == expected


def _package(module: str, packages: dict[str, str]) -> str | None:
    while module and module not in packages:
        module = module.rpartition(".")[0]
    return packages.get(module)


def test_no_arrow_goes_up_and_none_back() -> None:
    height = {"unillm_cli": 3, "runtime": 2, "models": 1, "registry": 1}
    for one, other in diagrams.arrows(ROOT):
        assert height[one.split("/")[0]] >= height[other.split("/")[0]], f"{one} -> {other}"
    assert ("models", "registry") not in diagrams.arrows(ROOT)


def test_every_call_of_the_life_of_a_prompt_is_in_the_source() -> None:
    assert diagrams.unkept(ROOT) == []


@pytest.mark.parametrize(
    "wrong",
    [
        diagrams.Call("runtime/desk", "runtime/wheel", "no_such_function", ""),
        diagrams.Call("runtime/sampler", "runtime/wheel", "turn", ""),
    ],
)
def test_a_call_that_is_gone_would_be_noticed(wrong: diagrams.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagrams, "REQUEST", (wrong,))
    assert diagrams.unkept(ROOT) == [wrong]


def test_every_package_is_in_the_diagram() -> None:
    drawn = diagrams.modules(ROOT)
    for init in ROOT.glob("*/**/__init__.py"):
        name = init.parent.relative_to(ROOT).as_posix()
        if name.split("/")[0] in ("unillm_cli", "runtime", "models", "registry"):
            assert f"[{name}]" in drawn
