"""A conversation: who said what, to which model, and how it shall answer. Plain data, that goes into a file and back.

It knows no file and no terminal.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self, get_args

from ..options import Effort
from ..speaking import Message

ROLES = ("user", "assistant")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class NotAConversation(ValueError):
    """Data that is none, and why."""


@dataclass(slots=True)
class Conversation:
    """`messages` are all that was said, oldest first; of them the model reads those from `first` on.

    `parameters` are those that the user has set, by the names of `SamplingParams`, and `context`; `schema` is what
    answers must look like, as JSON; `think` whether the model thinks first, or how hard, None being as it likes.
    """

    model: str
    id: str = field(default_factory=_new_id)
    began: str = field(default_factory=_now)
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    think: bool | Effort | None = None
    messages: list[Message] = field(default_factory=list)
    first: int = 0

    @property
    def title(self) -> str:
        """What it began with, in a line."""
        return " ".join(self.messages[0]["content"].split()) if self.messages else ""

    @property
    def read(self) -> list[Message]:
        """What the model reads."""
        said = self.messages[self.first :]
        return said if self.system is None else [{"role": "system", "content": self.system}, *said]

    def ask(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text})

    def take_back(self) -> str | None:
        """The last question, which is then no longer asked; None where there is none."""
        while self.messages:
            last = self.messages.pop()
            if last["role"] == "user":
                self.first = min(self.first, len(self.messages))
                return last["content"]
        return None

    def renew(self) -> None:
        """Be another conversation from here on, that begins with the same words."""
        self.id, self.began = _new_id(), _now()

    def as_data(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_data(cls, data: object) -> Self:
        """The conversation in `data`, each part of it looked at. Raises `NotAConversation`."""
        if not isinstance(data, Mapping):
            raise NotAConversation("it holds no table")
        for name, kinds in _KINDS.items():
            if not isinstance(data.get(name), kinds):
                raise NotAConversation(f"{name} is missing, or not what it should be")
        if data.get("think") not in (None, False, True, *get_args(Effort)):
            raise NotAConversation("think is not what it should be")
        if not all(_is_message(one) for one in data["messages"]) or not 0 <= data["first"] <= len(data["messages"]):
            raise NotAConversation("messages are not those of a conversation")
        return cls(**{name: data[name] for name in _KINDS}, think=data.get("think"))


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "id": str,
    "began": str,
    "system": (str, type(None)),
    "parameters": dict,
    "schema": (dict, type(None)),
    "messages": list,
    "first": int,
}


def _is_message(one: object) -> bool:
    if not isinstance(one, Mapping):
        return False
    return set(one) == {"role", "content"} and one["role"] in ROLES and isinstance(one["content"], str)
