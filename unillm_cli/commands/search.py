"""`unillm search`: models that could be fetched, and whether they would run."""

from typing import Any

from ...models.table import is_known
from ...registry.amounts import bytes_text, count_text
from ...registry.errors import OfflineMode, SourceUnreachable
from ...registry.search import Candidate, joined, search_catalogue, search_hub
from .. import options as of
from ..installed import Installed
from ..session import Session


def search(
    session: Session, query: of.QueryArgument, limit: of.LimitOption = 20, offline: of.OfflineOption = None
) -> None:
    """Look for models on the hub and among the short names, the most fetched first.

    Short names come first. Where the hub cannot be asked, they are all there is, and standard error says so. RUNS says
    whether unillm computes the model's architecture, and which one it is where it does not; ? where nobody says.

    \b
    Examples:
      unillm search qwen3
      unillm search "llama 8b" --limit 5
      unillm search coder --json
    """
    settings = Installed.of(session, offline=offline).settings
    words = " ".join(query)
    known, found, trouble = search_catalogue(words, settings), list[Candidate](), None
    try:
        found = search_hub(words, settings, limit)
    except (OfflineMode, SourceUnreachable) as error:
        trouble = error
        if not known:
            raise
    models = joined(known[:limit], found)[:limit]
    if session.json:
        hub = str(trouble) if trouble else None
        session.output.data({"query": words, "models": [_as_data(one) for one in models], "hub_error": hub})
        return
    head = ["NAME", "PARAMETERS", "SIZE", "DOWNLOADS", "LICENCE", "RUNS"]
    session.output.table(head, [_row(one) for one in models])
    if trouble:
        why = "nothing is fetched in offline mode" if isinstance(trouble, OfflineMode) else str(trouble)
        session.output.note(f"these are short names only: {why}")


def _runs(one: Candidate) -> bool | None:
    if one.architecture is None or one.format is None:
        return None
    return is_known(one.architecture, one.format)


def _row(one: Candidate) -> list[str]:
    verdict = {True: "yes", False: f"no: {one.architecture}", None: "?"}[_runs(one)]
    return [
        one.name,
        count_text(one.parameters) if one.parameters else "-",
        bytes_text(one.size) if one.size else "-",
        f"{one.downloads:,}" if one.downloads is not None else "-",
        one.licence or "-",
        verdict,
    ]


def _as_data(one: Candidate) -> dict[str, Any]:
    return {
        "name": one.name,
        "from": one.where,
        "repo": one.repo,
        "format": one.format,
        "architecture": one.architecture,
        "supported": _runs(one),
        "parameter_count": one.parameters,
        "size": one.size,
        "downloads": one.downloads,
        "license": one.licence,
        "gated": one.gated,
    }
