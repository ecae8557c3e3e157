"""What a model's chat templates show that it can do besides talk: call tools, and think before it speaks."""

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import TemplateFault
from .template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of templates that cannot be read nothing is known."""

    tools: bool = False
    thinking: bool = False

    @classmethod
    def shown_by(cls, templates: Mapping[str, str], model: str) -> "Abilities":
        if not templates:
            return cls()
        try:
            template = ChatTemplate(templates, model)
            return cls(template.takes_tools, template.manner.thinks)
        except TemplateFault:
            return cls()

    @property
    def names(self) -> list[str]:
        return [name for name in ("tools", "thinking") if getattr(self, name)]
