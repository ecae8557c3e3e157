"""`unillm create`: a model of one's own, from a Modelfile."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from ...registry.create import create as created
from ...registry.go_templates import is_go
from ...registry.modelfile import Modelfile, read_modelfile
from ...runtime.errors import InvalidParameter
from ...runtime.params import SamplingParams
from ...runtime.text.errors import TemplateFault
from ...runtime.text.template import ChatTemplate
from .. import options as of
from ..installed import Installed, as_data
from ..pulling import PullReport
from ..session import Session


def create(
    session: Session,
    name: of.NewModelArgument,
    file: of.ModelfileOption = Path("Modelfile"),
    offline: of.OfflineOption = None,
) -> None:
    """Make a model of your own: another one with a system message, parameters or a template pinned to it.

    A Modelfile says what: FROM a model or a path, PARAMETER, SYSTEM, TEMPLATE, MESSAGE and LICENSE. The files are
    shared, not copied. A template is written in Jinja; one that was written for Ollama is translated where it is known.

    \b
    Examples:
      unillm create pirate -f Modelfile
      unillm create mine:v2 -f ./recipes/mine.Modelfile
    """
    recipe = read_modelfile(file)
    _check(recipe)
    with PullReport(session.output) as listener:
        entry = created(name, recipe, Installed.of(session, offline=offline).settings, listener)
    if session.json:
        session.output.data(as_data(entry))


def _check(recipe: Modelfile) -> None:
    """What only a run would find: values out of range, and Jinja that cannot be read."""
    known = {one.name for one in fields(SamplingParams)}
    for name, value in recipe.parameters.items():
        given: dict[str, Any] = {name: value} if name in known else {}
        try:
            SamplingParams(**given)
        except InvalidParameter as error:
            raise recipe.error(name, f"{name} is {value!r}; it must be {error.allowed}") from error
    if recipe.template is not None and not is_go(recipe.template):
        try:
            ChatTemplate(recipe.template, str(recipe.path))
        except TemplateFault as error:
            raise recipe.error("TEMPLATE", str(error)) from error
