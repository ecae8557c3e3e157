"""What a model's files show that it can: its chat templates that it calls tools and thinks before it speaks, its
vocabulary that it fills holes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...registry.files import ModelFiles
from .errors import TemplateFault
from .holes import fills_holes
from .template import ChatTemplate
from .template_files import templates_of


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


def capabilities(files: ModelFiles) -> list[str]:
    """As Ollama words them. Raises `RegistryError`."""
    can = Abilities.shown_by(templates_of(files), files.name)
    return ["completion", *can.names, *(["insert"] if fills_holes(files) else [])]
