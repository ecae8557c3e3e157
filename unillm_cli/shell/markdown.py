"""A model's Markdown as lines for a terminal.

The text is a stranger's: it has lost what steers a terminal before it comes here, and nothing here makes links that
could be clicked, or lets a letter of it vanish. Line breaks stay, as in every chat.
"""

import re
from io import StringIO
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.syntax import Syntax
from rich.theme import Theme

_THEME: Final = Theme({"markdown.code": "cyan", "markdown.link": "default", "markdown.link_url": "underline"})
_PADDING: Final = re.compile(r"(?:\s|\x1b\[[0-9;]*m)+$")
# What would hide letters: HTML, \( as it stands in formulas, entities, [1]: and the like.
_LITERAL: Final = ("html_block", "html_inline", "escape", "entity", "reference", "image", "autolink")


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["strikethrough", "table"]).disable(list(_LITERAL))


class _PlainHeading(Heading):
    """A heading stands at the left, as it does in the text around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "default"
        text.stylize("bold")
        yield text


class _PlainCode(CodeBlock):
    """Code as it would be copied: no frame around it, no other ground under it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(
            code, self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 2), background_color="default"
        )


class _Rendered(Markdown):
    elements = {  # noqa: RUF012 (as in the base)
        **Markdown.elements,
        "heading_open": _PlainHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }

    def __init__(self, parsed: list[Token]) -> None:
        super().__init__("", hyperlinks=False, code_theme="ansi_dark", justify="default")
        self.parsed = parsed


def _without_padding(line: str) -> str:
    """A line without the blanks that fill it up, so that who copies it gets none."""
    bare = _PADDING.sub("", line)
    return f"{bare}\x1b[0m" if "\x1b" in bare else bare


class Page:
    """Renders blocks at the width of the terminal."""

    def __init__(self, colours: str | None) -> None:
        self._colours = colours
        self._parser = _parser()

    def lines(self, text: str, width: int) -> list[str]:
        """`text` as lines with their escape codes, none wider than `width`."""
        parsed = self._parser.parse(text)
        for token in parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
        out = StringIO()
        console = Console(
            file=out,
            width=width,
            force_terminal=True,
            color_system=self._colours,  # type: ignore[arg-type]
            legacy_windows=False,
            theme=_THEME,
            markup=False,
            emoji=False,
            highlight=False,
        )
        console.print(_Rendered(parsed), end="")
        return [_without_padding(line) for line in out.getvalue().strip("\n").split("\n")]

    def finished(self, text: str) -> int:
        """How much of `text` no further text can change: all blocks but the last.

        Where a line is not whole yet, what it will be is not known either.
        """
        whole = text[: text.rfind("\n") + 1]
        starts = [token.map[0] for token in self._parser.parse(whole) if token.level == 0 and token.map]
        if len(set(starts)) < 2:
            return 0
        return sum(len(line) for line in whole.splitlines(keepends=True)[: max(starts)])
