"""Write the completions, the man pages and README's table of models into a checkout."""

import sys
from pathlib import Path

from . import architectures, bash, fish, internals, zsh
from .describe import commands
from .roff import pages

SOURCE = Path(__file__).parents[2]  # of the package: what diagrams are drawn from


def files() -> dict[str, str]:
    """Every generated file: its path in the repository, and its text."""
    listed = commands()
    completions = {
        "completions/unillm.bash": bash.script(listed),
        "completions/_unillm": zsh.script(listed),
        "completions/unillm.fish": fish.script(listed),
    }
    sevens = {"unillm-internals.7": internals.page(SOURCE), "unillm-models.7": architectures.page()}
    manual = {**pages(listed), **sevens}
    return completions | {f"man/{name}": text for name, text in manual.items()}


def write(root: Path) -> None:
    """Write what differs, and remove pages of commands that are no more."""
    wanted = files()
    for folder in ("completions", "man"):
        for there in (root / folder).iterdir():
            if f"{folder}/{there.name}" not in wanted:
                there.unlink()
    for name, text in wanted.items():
        (root / name).write_text(text, "utf-8")
    readme = root / "README.md"
    if readme.is_file():
        readme.write_text(architectures.with_table(readme.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
