"""Where a store may stand: the address that a person typed, and the network addresses behind its name.

Outside development a store is reached by https on its usual port and on public addresses only. What was checked is what
is connected to: the name is looked up once for each connection, and no other address than those is tried.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import string
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias
from urllib.parse import SplitResult, quote, urlsplit

import idna

from connector.domain.connecting import Misfortune, NotConnectable
from connector.domain.platform import ShopDomain

Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp: TypeAlias = Callable[[str, int], list[str]]

_LONGEST: Final = 255
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATH = re.compile(r"(/[A-Za-z0-9._~%-]+)*", re.ASCII)
# What stands behind the base of a store in an address that was copied from a browser.
_INSIDE = re.compile(r"/(wp-admin|wp-login\.php|wp-json|wp-content|wc-auth|wc-api|index\.php)(/.*)?$")
_AT_HOME: Final = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa")
_PORTS: Final = {"http": 80, "https": 443}
# Beyond what Python's tables know: the metadata service of a large host, NAT64 for local use, 6to4 and its relays, documentation, SRv6.
_NEVER: Final = tuple(
    ipaddress.ip_network(each)
    for each in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16")
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class Address:
    """The base of a store: lower case host (punycode), its port where it is not the scheme's own, path without slash at the end."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def domain(self) -> ShopDomain:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return ShopDomain(f"{host}{f':{self.port}' if self.port else ''}{self.path}")

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.domain}"

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or (is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)


def address(typed: str, *, dev: bool) -> Address:
    """The base of the store at an address as a person types it, or as a store itself names one.

    Outside development http is read as https: whether https works, the probe finds out.

    Raises:
        NotConnectable: BAD_ADDRESS, or PRIVATE_ADDRESS for a host that is private by its name or number.
    """
    parts = _split(typed.strip())
    host = _host(parts.hostname or "")
    port = _port(parts)
    if not dev and (port not in (None, 80, 443) or parts.scheme not in _PORTS):
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    scheme = "https" if not dev else parts.scheme if "://" in typed else _scheme_in_dev(host, port)
    _refuse_private(host, dev=dev)
    found = Address(scheme, host, None if not dev or port == _PORTS[scheme] else port, _path(parts.path))
    if len(found.domain) > _LONGEST:
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    return found


def of_shop(shop: ShopDomain, *, dev: bool) -> Address:
    """The base of a shop whose scheme nobody kept: https, and in development http on this machine and on ports of its own."""
    return address(shop, dev=dev)


def _split(typed: str) -> SplitResult:
    if len(typed) > 2000 or not typed.isprintable() or "\\" in typed:
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    try:
        parts = urlsplit(typed if "://" in typed else f"https://{typed}")
    except ValueError:
        raise NotConnectable(Misfortune.BAD_ADDRESS) from None
    if parts.scheme not in _PORTS or "@" in parts.netloc or "%" in parts.netloc or " " in typed:
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    return parts


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise NotConnectable(Misfortune.BAD_ADDRESS) from None


def _host(name: str) -> str:
    if is_ip(name):
        return str(ipaddress.ip_address(name))
    try:
        host = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise NotConnectable(Misfortune.BAD_ADDRESS) from None
    host = host.lower().removesuffix(".")
    if is_ip(host):  # written in full-width digits
        return host
    labels = host.split(".")
    # A last label that is a number makes the whole a number to the resolver: 127.1, 0x7f000001, 2130706433, 0177.0.0.1.
    if not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    return host


def _path(raw: str) -> str:
    path = _INSIDE.sub("", quote(raw, safe=string.printable)).rstrip("/")
    if not _PATH.fullmatch(path) or "%2f" in path.lower() or "%5c" in path.lower():
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    if any(segment.lower().replace("%2e", ".") in {".", ".."} for segment in path.split("/")):
        raise NotConnectable(Misfortune.BAD_ADDRESS)
    return path


def _scheme_in_dev(host: str, port: int | None) -> str:
    return "http" if port not in (None, 443) or Address("http", host, None, "").is_loopback else "https"


def _refuse_private(host: str, *, dev: bool) -> None:
    if dev:
        return
    if is_ip(host):
        if not is_public(ipaddress.ip_address(host)):
            raise NotConnectable(Misfortune.PRIVATE_ADDRESS)
    elif any(host == name or host.endswith(f".{name}") for name in _AT_HOME):
        raise NotConnectable(Misfortune.PRIVATE_ADDRESS)
    elif "." not in host:
        raise NotConnectable(Misfortune.BAD_ADDRESS)


# ── The network behind a name ───────────────────────────────────────────────────────────────────────────────────────


def is_ip(text: str) -> bool:
    """Whether this is an address in its usual form; `127.1` and `0x7f000001` are not."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_public(ip: Ip) -> bool:
    """Whether anybody may be asked there: global unicast, also where a v4 address is wrapped in a v6 one."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(ip.ipv4_mapped)
        if ip in _NAT64:
            return is_public(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if ip not in _UNICAST:
            return False
    refused = any(ip.version == net.version and ip in net for net in _NEVER)
    return ip.is_global and not (refused or ip.is_multicast or ip.is_reserved or ip.is_link_local)


@dataclass(frozen=True, slots=True)
class Guard:
    """Looks names up and lets through what may be connected to. In development that is everything."""

    dev: bool = False
    look_up: LookUp | None = None  # numeric addresses of a name; None: ask the system

    def addresses(self, host: str, port: int, *, within: timedelta) -> list[str]:
        """The checked addresses of `host`; connect to nothing else. One forbidden address among them refuses the name.

        Raises:
            NotConnectable: PRIVATE_ADDRESS.
            OSError: no such name, or no answer in time.
        """
        found = [host] if is_ip(host) else (self.look_up or _ask_the_system(within))(host, port)
        if not found:
            raise OSError("no address")
        if not self.dev and not all(is_public(ipaddress.ip_address(one)) for one in found):
            raise NotConnectable(Misfortune.PRIVATE_ADDRESS)
        return found


def _ask_the_system(within: timedelta) -> LookUp:
    """The system knows no deadline, so it waits in a thread of its own."""

    def look_up(host: str, port: int) -> list[str]:
        answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                answer.put(error)
            except UnicodeError:
                answer.put(OSError("no such name"))
            else:
                answer.put(list(dict.fromkeys(str(each[4][0]) for each in found)))

        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            got = answer.get(timeout=max(0, within.total_seconds()))
        except queue.Empty:
            raise TimeoutError("the look-up of the name took too long") from None
        if isinstance(got, OSError):
            raise got
        return got

    return look_up
