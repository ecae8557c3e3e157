"""A hub, or something on the way to it, that means harm or is beside itself: refused in words, and nothing is left."""

import gzip
import resource
import socket
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from unillm.registry.errors import (
    ChecksumMismatch,
    MalformedAnswer,
    RedirectRefused,
    RegistryError,
    SourceUnreachable,
)
from unillm.registry.pull import plan, pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.registry.sources import redirects
from unillm.registry.sources.redirects import Reach, redirected, without_secrets
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Repo
from unillm.tests.support.tiny_models import original
from unillm.unillm_cli.errors import report

LISTING, WEIGHTS = "/api/models/", "/resolve/"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def repo(hub: FakeHub) -> Repo:
    hub.repos["org/repo"] = Repo(original())
    return hub.repos["org/repo"]


def refused(online: RegistrySettings, *kinds: type[RegistryError], match: str) -> RegistryError:
    """What a pull is refused with: in printable words, and with nothing listed or written but ours."""
    before = set(online.home.parent.iterdir())
    with pytest.raises(kinds or RegistryError, match=match) as caught:
        pull("org/repo", online)
    assert str(caught.value).isprintable()
    assert Shelf(online).entries() == []
    assert set(online.home.parent.iterdir()) - before <= {online.home, online.cache_dir.parent}
    return caught.value


def reply(status: str, body: bytes = b"", **headers: object) -> Callable[[], list[bytes]]:
    told = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in told.items() if value is not None), "", ""]
    return lambda: ["\r\n".join(lines).encode(), body]


def to(address: str) -> Callable[[], list[bytes]]:
    return reply("302 Found", Location=address)


# Redirects


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1:70/x",
        "javascript:alert(1)",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/x",
        "http://0.0.0.0:80/x",
        "http://user:secret@127.0.0.1/x",
        "http://[half/x",
        "http://127.0.0.1:99999/x",
        "/x" * 5000,
        "",
    ],
)
@pytest.mark.parametrize("asked", [LISTING, WEIGHTS])
def test_a_redirect_to_where_no_model_is_is_refused_by_name(
    hub: FakeHub, online: RegistrySettings, asked: str, address: str
) -> None:
    """ST-14."""
    hub.instead[asked] = to(address)
    error = refused(online, RedirectRefused, match="sends us on to")
    assert report(error).code == 1
    assert hub.sent < 20_000


def test_redirects_come_to_an_end(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-14: ten of them, and no more."""
    hub.instead[LISTING] = to(f"{hub.endpoint}/api/models/again")
    refused(online, RedirectRefused, match="number 11 of one request")
    assert sum(LISTING in one.path for one in hub.asked) == 11


@pytest.mark.parametrize(
    ("hub_reach", "target_reach", "follows"),
    [
        (Reach.PUBLIC, Reach.PUBLIC, True),
        (Reach.PUBLIC, Reach.NETWORK, False),
        (Reach.PUBLIC, Reach.MACHINE, False),
        (Reach.NETWORK, Reach.NETWORK, True),
        (Reach.NETWORK, Reach.MACHINE, False),
        (Reach.MACHINE, Reach.PUBLIC, True),
        (Reach.NOWHERE, Reach.NOWHERE, False),
    ],
)
def test_a_hub_does_not_lead_nearer_to_this_machine_than_it_is(
    monkeypatch: pytest.MonkeyPatch, hub_reach: Reach, target_reach: Reach, follows: bool
) -> None:
    """ST-14: a hub out there cannot make us ask what only this machine and its neighbours may."""
    monkeypatch.setattr(redirects, "reach_of", {"hub.test": hub_reach, "target.test": target_reach}.__getitem__)
    if follows:
        assert redirected("the hub", "http://hub.test/a", "http://target.test/b") == "http://target.test/b"
    else:
        with pytest.raises(RedirectRefused, match="inside this machine or its network"):
            redirected("the hub", "http://hub.test/a", "http://target.test/b")


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("10.1.2.3", Reach.NETWORK),
        ("192.168.0.1", Reach.NETWORK),
        ("100.64.0.1", Reach.NETWORK),
        ("fd00::1", Reach.NETWORK),
        ("127.0.0.3", Reach.MACHINE),
        ("2130706433", Reach.MACHINE),
        ("0x7f.1", Reach.MACHINE),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("169.254.169.254", Reach.NOWHERE),
        ("::ffff:169.254.169.254", Reach.NOWHERE),
        ("224.0.0.1", Reach.NOWHERE),
        ("0.0.0.0", Reach.NOWHERE),
    ],
)
def test_an_address_is_known_in_every_spelling(address: str, reach: Reach) -> None:
    """ST-14."""
    assert redirects.reach_of(address) is reach


def test_an_encrypted_connection_is_not_left() -> None:
    """ST-13."""
    with pytest.raises(RedirectRefused, match="leaves the encrypted connection"):
        redirected("the hub", "https://hub.test/a", "http://hub.test/b")
    assert redirected("the hub", "https://hub.test/a", "/b?x=1") == "https://hub.test/b?x=1"


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ("http://hub.test/b", True),
        ("http://hub.test:80/b", True),
        ("http://hub.test:81/b", False),
        ("https://hub.test/b", False),
        ("http://other.test/b", False),
        ("http://hub.test.evil.test/b", False),
    ],
)
def test_a_token_stays_with_the_one_who_was_asked(after: str, kept: bool) -> None:
    """ST-13: another host, another port and another scheme are others."""
    headers = {"Authorization": "Bearer hf_secret", "Cookie": "x", "Range": "bytes=1-"}
    sent = without_secrets(headers, "http://hub.test/a", after)
    assert ("Authorization" in sent, "Cookie" in sent, sent["Range"]) == (kept, kept, "bytes=1-")


def test_a_token_reaches_no_other_server_and_nothing_that_is_written(
    hub: FakeHub, online: RegistrySettings, heard: Heard
) -> None:
    """ST-13: not the server that a redirect leads to, whatever it says about who must log in; no file, no word."""
    token = "hf_verysecret"
    with FakeHub().running() as other:
        other.instead["/"] = reply(
            "401 Unauthorized", WWW_Authenticate=f'Bearer realm="{other.endpoint}/token",service="x"'
        )
        hub.instead[WEIGHTS] = to(f"{other.endpoint}/weights")
        with pytest.raises(RegistryError) as caught:
            pull("org/repo", replace(online, token=token), heard)
        assert {one.path for one in other.asked} == {"/weights"}
        assert all(one.token is None for one in other.asked)
    written = [path for path in online.home.parent.rglob("*") if path.is_file()]
    assert not any(token.encode() in path.read_bytes() for path in written)
    assert token not in f"{caught.value!r} {caught.value} {heard} {replace(online, token=token)!r}"


# Too much of everything


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    while True:
        yield b'[{"rfilename": "' + b"x" * MIB


def bomb(mib: int = 256) -> Callable[[], Iterable[bytes]]:
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join([packer.compress(bytes(MIB)) for _ in range(mib)] + [packer.flush()])
    return reply("200 OK", body, Content_Encoding="gzip")


def huge_json() -> bytes:
    return b'{"sha": "' + COMMIT.encode() + b'", "siblings": [' + b"{}," * 5_000_000 + b"{}]}"


TOO_MUCH = {
    "a quarter of a gibibyte in a few letters": (bomb, MalformedAnswer, "more than 16777216 bytes"),
    "a body without end": (lambda: endless, MalformedAnswer, "more than 16777216 bytes"),
    "five million values": (lambda: reply("200 OK", huge_json()), MalformedAnswer, "more than 1000000 values"),
    "a header without end": (lambda: reply("200 OK", X_Big="x" * 10 * MIB), SourceUnreachable, "out of reach"),
    "ten thousand headers": (
        lambda: reply("200 OK", b"", **{f"X-{n}": "x" * 100 for n in range(10_000)}),
        SourceUnreachable,
        "out of reach",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_of_anything_is_refused_and_takes_little_memory(
    hub: FakeHub, online: RegistrySettings, what: str
) -> None:
    """ST-15, of the listing. The peak of this process tells, for nothing that a pull made before was as large."""
    make, kind, words = TOO_MUCH[what]
    hub.instead[LISTING] = make()  # type: ignore[operator]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(online, kind, match=words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_of_a_download_never_more_is_written_than_was_announced(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-15, ST-17: packed or plain, it ends where it should."""
    for body in (bomb(64), reply("200 OK", bytes(64 * MIB))):
        hub.instead = {"/elsewhere/": body}
        refused(online, SourceUnreachable, match="more than the 4")
        assert all(path.stat().st_size < MIB for path in online.cache_dir.rglob("*") if path.is_file())


def test_a_file_that_comes_packed_all_the_same_is_unpacked(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    """ST-15: what counts are the bytes, not how they travel."""
    packed = gzip.compress(repo.files["config.json"])
    hub.instead["/config.json"] = reply("200 OK", packed, Content_Encoding="gzip")
    assert pull("org/repo", online).files().files["config.json"].read_bytes() == repo.files["config.json"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip"])
def test_a_packing_that_nobody_asked_for_is_refused(hub: FakeHub, online: RegistrySettings, encoding: str) -> None:
    """ST-15: unpackers that know no bounds are not called."""
    hub.instead[LISTING] = reply("200 OK", b"xxxx", Content_Encoding=encoding)
    refused(online, MalformedAnswer, match="content encoding")


# Nonsense


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json at all", "not json at all"),
        (b"<html><title>Log in to the \x1b[31mhotel</title>", r"Log in to the \\x1b\[31mhotel"),
        (b"", "malformed list of files"),
        (b"[" * 100_000, r"b'\[\[\["),
        (b'{"a":' * 50_000, "something else than a hub"),
        (b'{"siblings": [3]}', "malformed answer"),
        (b'{"sha": "0", "siblings": [{"rfilename": 3}]}', "malformed commit"),
        (b"\xff\xfe\x00", "something else than a hub"),
        (b'{"siblings": ' + b"9" * 5000 + b"}", "something else than a hub|malformed"),
    ],
)
def test_an_answer_that_is_none_is_told_with_its_first_bytes(
    hub: FakeHub, online: RegistrySettings, body: bytes, words: str
) -> None:
    """ST-16."""
    hub.instead[LISTING] = reply("200 OK", body)
    error = refused(online, SourceUnreachable, MalformedAnswer, match=words)
    assert isinstance(error, MalformedAnswer) or hub.endpoint in str(error)


@pytest.mark.parametrize("said", [b"HTTP/1.1 Two Hundred\r\n\r\n", b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX"])
@pytest.mark.parametrize("asked", [LISTING, WEIGHTS])
def test_a_line_that_is_no_hubs_is_told(hub: FakeHub, online: RegistrySettings, asked: str, said: bytes) -> None:
    """ST-16: a status line that is none, and one who hangs up."""
    hub.instead[asked] = lambda: [said]
    error = refused(online, SourceUnreachable, match="out of reach")
    assert report(error).code == 5


# Sizes, names and commits


@pytest.mark.parametrize("by", [-7, 7])
def test_a_size_that_is_not_the_files_is_found(repo: Repo, online: RegistrySettings, by: int) -> None:
    """ST-17: a file is what was announced, in length and checksum, or it is not stored."""

    def spoil(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        next(one for one in siblings if one["rfilename"] == "config.json")["size"] += by

    repo.change = spoil
    refused(online, SourceUnreachable, ChecksumMismatch, match=r"config\.json")


def test_no_header_of_a_download_is_needed(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    """ST-17: without length, tag and commit the listing still says what the bytes must be."""
    body = repo.files["model.safetensors"]
    hub.instead["/elsewhere/"] = reply("200 OK", body, Content_Length=None, Connection="close")
    assert Shelf(online).verify(pull("org/repo", online)) == []
    hub.instead["/elsewhere/"] = reply("200 OK", body[:-1] + b"?", Content_Length=None, Connection="close")
    Shelf(online).remove(Shelf(online).entries()[0])
    refused(online, ChecksumMismatch, match="want sha256")


def test_a_tag_that_is_a_path_is_nobodys_business(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    """ST-11: what a header calls a file names nothing here."""
    body = repo.files["model.safetensors"]
    for evil in ('"../../../../../escape"', '"/tmp/escape"'):
        hub.instead["/elsewhere/"] = reply("200 OK", body, ETag=evil, X_Linked_Etag=evil, X_Repo_Commit="../../x")
        entry = pull("org/repo", online)
        assert Shelf(online).verify(entry) == []
        Shelf(online).remove(entry)
    assert not list(online.home.parent.rglob("*escape*"))


@pytest.mark.parametrize("twins", [("model.safetensors", "model.safetensors"), ("config.json", "Config.JSON")])
def test_two_files_of_one_name_are_refused(repo: Repo, online: RegistrySettings, twins: tuple[str, str]) -> None:
    """ST-12: on a disk that knows no case, the second would be the first."""

    def spoil(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        siblings.append({**next(one for one in siblings if one["rfilename"] == twins[0]), "rfilename": twins[1]})

    repo.change = spoil
    refused(online, MalformedAnswer, match="twice|case alone")


def test_every_file_is_of_the_commit_that_was_planned(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-18: the branch moves on between the plan and the download."""
    planned = plan("org/repo", online)
    hub.repos["org/repo"].branches = frozenset()
    entry = pull(f"org/repo@{COMMIT}", online)
    assert [one.name for one in entry.sound.files] == [one.name for one in planned.files]
    assert all(f"/resolve/{COMMIT}/" in path for path in hub.bodies())


@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_a_repository_that_changes_meanwhile_is_told(repo: Repo, online: RegistrySettings, change: str) -> None:
    """ST-18: the same commit has other bytes, or a file no longer."""
    real = repo.files["model.safetensors"]

    def move_on(_listing: dict[str, object]) -> None:
        if change == "gone":
            repo.files.pop("model.safetensors", None)
        else:
            repo.files["model.safetensors"] = bytes(len(real))

    repo.change = move_on
    words = r"org/repo changed while it was fetched: model\.safetensors is no longer there"
    refused(online, match=words if change == "gone" else "checksum mismatch")


# Out of reach


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("http://127.0.0.1:9", "refused"), ("http://no.such.host.invalid", "resol|known|answer|address")],
)
def test_a_hub_that_is_not_there_is_named_with_the_cause(online: RegistrySettings, endpoint: str, words: str) -> None:
    """ST-08: nobody at the door, and no such door; what is here already stays usable."""
    entry = pull("org/repo", online, name="here")
    away = replace(online, endpoint=endpoint, cache_dir=online.cache_dir.with_name("other"))
    with pytest.raises(SourceUnreachable, match=endpoint) as caught:
        pull("org/repo", away)
    assert report(caught.value).code == 5
    assert any(word in str(caught.value) for word in words.split("|")), str(caught.value)
    assert Shelf(away).ready(entry) == entry.files()


def test_a_port_where_nobody_speaks_is_given_up(online: RegistrySettings) -> None:
    """ST-08: a socket that is opened, and silent for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(replace(online, endpoint=endpoint, patience=0.3), SourceUnreachable, match="no answer within|timed out")
