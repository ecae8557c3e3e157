"""Where a source may send us on, and what of ours may go along.

A hub serves its large files from other hosts, so redirects are followed; but whoever answers for a hub must not make
this machine ask its own services, or those of its network, for something, nor learn the user's token.
"""

import ipaddress
import socket
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from urllib.parse import SplitResult, urljoin, urlsplit

from ..errors import RedirectRefused

MOST = 10
STATUSES = frozenset({301, 302, 303, 307, 308})
_LONGEST = 8192  # signed addresses of object stores have some 1500 letters
_PORTS = {"http": 80, "https": 443}


class Reach(IntEnum):
    """How near to this machine an address is."""

    PUBLIC = 0
    NETWORK = 1
    MACHINE = 2
    NOWHERE = 3  # of this link alone, where clouds tell machines their secrets; or no address of one host


def redirected(source: str, address: str, location: str | None) -> str:
    """The address that `location` sends us to from `address`. Raises `RedirectRefused`."""
    if not location or len(location) > _LONGEST or not location.isprintable():
        raise RedirectRefused(source, location or "", "it is no address")
    try:
        found = urlsplit(urljoin(address, location))
        before, host, _ = urlsplit(address), found.hostname, found.port
    except ValueError as error:
        raise RedirectRefused(source, location, str(error)) from error
    if found.scheme not in _PORTS or not host or found.username is not None:
        raise RedirectRefused(source, location, "only plain http and https addresses are followed")
    if before.scheme == "https" and found.scheme == "http":
        raise RedirectRefused(source, location, "it leaves the encrypted connection")
    if (near := reach_of(host)) > reach_of(before.hostname or "") or near is Reach.NOWHERE:
        raise RedirectRefused(source, location, "it leads to an address inside this machine or its network")
    return found.geturl()


def without_secrets(headers: Mapping[str, str], before: str, after: str) -> dict[str, str]:
    """The headers for the next host: who asks is said only to the one that was asked."""
    if _origin(urlsplit(before)) == _origin(urlsplit(after)):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")}


@lru_cache(maxsize=64)
def reach_of(host: str) -> Reach:
    """That of the nearest of a host's addresses. A host that nobody knows here is a proxy's to find."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Reach.PUBLIC
    return max((_reach(str(one[4][0])) for one in found), default=Reach.PUBLIC)


def _reach(text: str) -> Reach:
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return Reach.MACHINE
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return Reach.NOWHERE
    return Reach.PUBLIC if address.is_global else Reach.NETWORK


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port or _PORTS.get(address.scheme)
