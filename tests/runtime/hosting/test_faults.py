"""What goes wrong in the registry, as whoever asks the server hears it: a status that says whose it is to mend."""

from pathlib import Path

import pytest

from unillm.registry import errors as registry
from unillm.runtime.errors import BackendRefused, DeviceNotFound, DraftMismatch, RuntimeFault, ServerRefused
from unillm.runtime.hosting.faults import fault_of
from unillm.runtime.server.endpoint import STATUS
from unillm.unillm_cli.errors import report

HERE = Path("/srv/models/x.gguf")
HIDDEN = registry.Unauthorized("org/x", logged_in=False)
AWAY = registry.SourceUnreachable("the hub", "no route")
STATUSES: list[tuple[registry.RegistryError, int]] = [
    (registry.InvalidName("a b", "it has a space"), 400),
    (registry.ModelfileError(HERE, 3, "no FROM"), 400),
    (registry.NotUploaded("sha256:00"), 400),
    (registry.ModelNotFound("x"), 404),
    (registry.NotInstalled("x"), 404),
    (registry.VariantNotFound("org/x", "Q9", []), 404),
    (registry.RevisionNotFound("org/x", "old"), 404),
    (registry.NoWeights("org/x", "holds no weights"), 404),
    (HIDDEN, 404),
    (registry.GatedModel("org/x", "https://hub/org/x", logged_in=False), 403),
    (registry.NotPublic("x", "the registry"), 403),
    (registry.NotFetched("x", [AWAY, HIDDEN]), 404),
    (registry.NotFetched("x", [AWAY, AWAY]), 502),
    (registry.OfflineMode("x"), 502),
    (AWAY, 502),
    (registry.HubFailed("the hub", 500), 502),
    (registry.MalformedAnswer("the hub", "hash", "zz"), 502),
    (registry.DiskFull(HERE, 10, 1), 507),
    (registry.StoreBusy(HERE), 503),
    (registry.ChecksumMismatch("x", "1", "2"), 500),
    (registry.FileMissing("x", HERE), 500),
    (registry.FormatError(HERE, "magic", "is another"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda one: getattr(type(one), "__name__", str(one)))
def test_an_error_of_the_registry_has_the_status_of_its_family(error: registry.RegistryError, status: int) -> None:
    fault = fault_of(error)
    assert STATUS[fault.kind] == status
    assert "/srv" not in f"{fault.message}{fault.hint}"
    assert (fault.retry_after is not None) == (fault.kind == "busy")


@pytest.mark.parametrize(
    "error",
    [BackendRefused("triton", "prompts", "no"), DeviceNotFound("tpu", ["cpu"]), DraftMismatch("a", "b", "other words")],
    ids=lambda error: type(error).__name__,
)
def test_settings_that_cannot_be_are_the_servers_to_mend(error: RuntimeFault) -> None:
    fault = fault_of(error)
    assert (STATUS[fault.kind], fault.hint) == (503, error.hint)


# Here a repository that is not shown may be one to log in for; over HTTP there is none.
# An answer that makes no sense is a source's failure, which a server tells as one that is out of reach.
ALIKE = [
    error
    for error, status in STATUSES
    if status not in (400, 500) and not isinstance(error, registry.MalformedAnswer) and "private" not in str(error)
]


@pytest.mark.parametrize("error", ALIKE, ids=lambda error: type(error).__name__)
def test_a_command_ends_alike_whether_a_server_meets_the_error_or_it_does_itself(error: registry.RegistryError) -> None:
    fault = fault_of(error)
    there = report(ServerRefused(fault.kind, fault.message, fault.hint)).code
    assert report(error).code == there
