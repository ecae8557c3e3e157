"""`unillm cp`: a second name for a model."""

from ...registry.names import ModelRef
from .. import options as of
from ..installed import Installed, as_data
from ..session import Session


def cp(session: Session, source: of.ModelArgument, target: of.NewNameArgument) -> None:
    """Give a model a second name. Its files are shared, not copied.

    \b
    Examples:
      unillm cp llama3:8b mine:v1
    """
    installed = Installed.of(session)
    entry = installed.need(source)
    ref = ModelRef.parse(target)
    copy = installed.shelf.copy(entry, ref if ref.tag or ref.is_path else ref.with_tag("latest"))
    if session.json:
        session.output.data(as_data(copy))
    else:
        session.output.line(f"copied {entry.name} to {copy.name}")
