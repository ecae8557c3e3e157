"""Which tokens the small files beside the weights say end an answer."""

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .errors import SettingsFault


def stated_ends(files: ModelFiles) -> set[int]:
    """`eos_token_id` of generation_config.json, one or several; of config.json where there is none of the first."""
    for name in ("generation_config.json", "config.json"):
        if name in files.files:
            return _checked(read_json_object(files.files[name]).get("eos_token_id"), str(files.files[name]))
    return set()


def _checked(stated: object, source: str) -> set[int]:
    entries = stated if isinstance(stated, list) else [] if stated is None else [stated]
    for token in entries:
        if type(token) is not int or token < 0:
            raise SettingsFault(source, "eos_token_id", f"{token!r} is not a token id")
    return {token for token in entries if isinstance(token, int)}
