"""What is installed is what is here: the list of packages, the data files, and what importing them costs."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "registry", "runtime", "unillm_cli")
COMPILED = (".cpp", ".h", ".so", ".pyd")
HEAVY = ("torch", "transformers", "numpy", "huggingface_hub", "tokenizers")


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return table


def test_the_list_of_packages_is_the_tree(setuptools_table: dict[str, Any]) -> None:
    found = [path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    packages = {".".join(("unillm", *path.relative_to(ROOT).parts)) for path in found}
    assert set(setuptools_table["packages"]) == packages | {"unillm"}
    assert setuptools_table["packages"] == sorted(setuptools_table["packages"])


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_file_that_is_not_code_is_installed_too(setuptools_table: dict[str, Any]) -> None:
    patterns = [(name, one) for name, several in setuptools_table["package-data"].items() for one in several]
    folders = {name: ROOT.joinpath(*name.split(".")[1:]) for name, _ in patterns}
    installed = {path for name, one in patterns for path in folders[name].glob(one)}
    there = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    code = (".py", ".pyc", *COMPILED)
    assert {path for path in there if path.suffix not in code} | {ROOT / "py.typed"} == installed


def test_every_source_of_the_kernels_is_built(setuptools_table: dict[str, Any]) -> None:
    (extension,) = setuptools_table["ext-modules"]
    for names, suffix in ((extension["sources"], ".cpp"), (extension["depends"], ".h")):
        assert names == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "models").rglob(f"*{suffix}"))


def test_completions_and_pages_are_installed_where_shells_and_man_look(setuptools_table: dict[str, Any]) -> None:
    sources = {
        path for several in setuptools_table["data-files"].values() for one in several for path in ROOT.glob(one)
    }
    assert sources == {path for folder in ("completions", "man") for path in (ROOT / folder).iterdir()}


def loaded_after(*modules: str) -> set[str]:
    """What is imported, once these are, in a fresh interpreter."""
    script = f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_importing_unillm_loads_nothing_heavy() -> None:
    assert not loaded_after("unillm") & set(HEAVY)


def test_the_face_keeps_its_promises() -> None:
    import unillm

    assert set(unillm.__all__) <= set(dir(unillm))
    assert [getattr(unillm, name).__name__ for name in unillm.__all__] == list(unillm.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = unillm.nothing_of_the_kind


def test_no_module_of_the_registry_and_the_door_loads_torch() -> None:
    """Entry points of `python -m` are left out: they run when they are imported."""
    files = [path for folder in ("registry", "unillm_cli") for path in (ROOT / folder).rglob("*.py")]
    names = [".".join(("unillm", *path.relative_to(ROOT).with_suffix("").parts)) for path in files]
    modules = sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))
    assert not loaded_after(*modules) & {"torch", "transformers"}
