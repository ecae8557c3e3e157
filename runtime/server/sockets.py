"""Where a server listens: an address and a port, or a socket file (`unix:PATH`)."""

import errno
import ipaddress
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import CannotListen

UNIX = "unix:"
_HINTS = {
    errno.EADDRINUSE: "another program listens there: take another --port, or 0 for any",
    errno.EACCES: "ports below 1024 are for the system: take a higher --port",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 stands for all it has",
}


def is_local(host: str) -> bool:
    """Whether only this machine can reach who listens there."""
    if host == "localhost" or host.startswith(UNIX):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening(host: str, port: int) -> list[socket.socket]:
    """A socket bound to each of the addresses that `host` stands for. Raises `CannotListen`."""
    if host.startswith(UNIX):
        return [_socket_file(Path(host.removeprefix(UNIX)))]
    sockets, error = list[socket.socket](), OSError("no address")
    for family, address in _addresses(host, port):
        try:
            sockets.append(_bound(family, (address[0], _port_of(sockets) or port, *address[2:])))
        except OSError as refused:
            error = refused
            if refused.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    else:
        if sockets:
            return sockets
    close(sockets)
    raise CannotListen(f"{_bracketed(host)}:{port}", error.strerror or str(error), _HINTS.get(error.errno or 0))


def close(sockets: Sequence[socket.socket], host: str = "") -> None:
    """Let go of them; the socket file that `host` names goes too."""
    for one in sockets:
        one.close()
    if host.startswith(UNIX):
        Path(host.removeprefix(UNIX)).unlink(missing_ok=True)


def shown(host: str, sockets: Sequence[socket.socket], scheme: str) -> str:
    """Where the server is, for people: the port is the one that was got."""
    return host if host.startswith(UNIX) else f"{scheme}://{_bracketed(host)}:{_port_of(sockets)}"


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise CannotListen(f"{_bracketed(host)}:{port}", reason, "127.0.0.1 is this machine alone") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))  # type: ignore[misc]


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let two programs listen at once
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(2048)
    except OSError:
        made.close()
        raise
    return made


def _socket_file(path: Path) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise CannotListen(f"{UNIX}{path}", "this system has no socket files")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead(path):
            path.unlink()
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(2048)
    except OSError as error:
        made.close()
        raise CannotListen(f"{UNIX}{path}", error.strerror or str(error)) from None
    return made


def _is_dead(path: Path) -> bool:
    """Whether a socket file is left of a server that has gone."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _port_of(sockets: Sequence[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1]) if sockets else 0


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
