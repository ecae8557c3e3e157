"""The completion scripts complete, in the shells themselves where these are here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unillm.unillm_cli.reference.__main__ import files

NAMES = ["llama3:8b", "org/repo", "smollm2:135m", "smollm2:360m"]

BASH = """
COMP_WORDBREAKS=$BREAKS
source "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_unillm
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, and a `unillm` that knows four models."""
    folder = tmp_path_factory.mktemp("completions")
    for name, text in files().items():
        if name.startswith("completions/"):
            (folder / Path(name).name).write_text(text)
    command = folder / "unillm"
    command.write_text(f'#!/bin/sh\n[ "$1 $2" = "complete models" ] && printf "%s\\n" {" ".join(NAMES)}\n')
    command.chmod(0o755)
    return folder


def completed(place: Path, shell: str, *args: str, breaks: str = " \t\n") -> list[str]:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here")
    environ = {**os.environ, "BREAKS": breaks, "PATH": f"{place}:{os.environ['PATH']}"}
    ran = subprocess.run([shell, *args], capture_output=True, text=True, check=True, env=environ)
    assert ran.stderr == ""
    return sorted(line.split("\t")[0] for line in ran.stdout.splitlines() if line)


LINES = [
    ("unillm gen", ["generate"]),
    ("unillm generate --mod", ["--model"]),
    ("unillm generate --model smollm2:1", ["smollm2:135m"]),
    ("unillm generate -m org", ["org/repo"]),
    ("unillm generate --raw --device c", ["cpu", "cuda"]),
    ("unillm generate --dtype b", ["bfloat16"]),
    ("unillm bench l", ["llama3:8b"]),
    ("unillm show ", NAMES),
    ("unillm rm smollm2:135m l", ["llama3:8b"]),
    ("unillm ls --js", ["--json"]),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bash_completes(place: Path, line: str, expected: list[str]) -> None:
    assert completed(place, "bash", "-c", BASH, "bash", str(place / "unillm.bash"), *line.split(" ")) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["unillm", "generate", "-m", "smollm2", ":", "1"], ["135m"]),
        (["unillm", "generate", "-m", "smollm2", ":"], ["135m", "360m"]),
        (["unillm", "generate", "--model", "=", "org"], ["org/repo"]),
        (["unillm", "generate", "--model", "=", "smollm2", ":", "3"], ["360m"]),
        (["unillm", "generate", "--prompt", ""], []),
    ],
)
def test_bash_completes_where_it_splits_words_at_colons_and_equals_signs(
    place: Path, words: list[str], expected: list[str]
) -> None:
    script = str(place / "unillm.bash")
    assert completed(place, "bash", "-c", BASH, "bash", script, *words, breaks=" \t\n\"'><=;|&(:") == expected


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish_completes(place: Path, line: str, expected: list[str]) -> None:
    script = f"source {place / 'unillm.fish'}; complete -C '{line}'"
    assert completed(place, "fish", "--no-config", "-c", script) == expected


def test_zsh_takes_the_script(place: Path) -> None:
    assert completed(place, "zsh", "-f", "-n", str(place / "_unillm")) == []
