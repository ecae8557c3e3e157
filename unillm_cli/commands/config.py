"""`unillm config`: which settings are in force, and where each was set."""

from .. import options as of
from ..session import Session
from ..settings import config_file, stated


def config(session: Session, _action: of.ConfigArgument = "show", origin: of.OriginOption = False) -> None:
    """Tell which settings are in force. An option on the command line goes before all of them.

    They come from environment variables, then from config.toml in unillm's configuration folder, or from the file that
    UNILLM_CONFIG names; what is set nowhere has its default.

    \b
    Examples:
      unillm config show
      unillm config show --origin
    """
    found = stated(session.environ)
    if session.json:
        told = [{"name": one.name, "value": one.value, "origin": one.where} for one in found]
        session.output.data({"file": str(config_file(session.environ)), "settings": told})
        return
    head = ["SETTING", "VALUE", *(["ORIGIN"] if origin else [])]
    session.output.table(head, [[one.name, _text(one.value), *([one.where] if origin else [])] for one in found])


def _text(value: object) -> str:
    """A value as one would write it down; what nobody has set is shown as such."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
