"""Who is asking: at which shop, from which network, with what proof; and how long a guess takes."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from flask import abort, current_app, request

from connector import links
from connector.db import Busy
from connector.links import Visit
from connector.models import ShopStatus
from connector.services import shops
from connector.services.shops import ShopKeys, keys_of
from connector.web.doors import Door
from connector.web.hosting import here

FLOOR: Final = 0.3  # seconds before a look-up is answered, whatever the answer
FLOOR_SETTING: Final = "LOOK_UP_FLOOR"  # of the Flask application: another floor, for tests
_HANDLE: Final = re.compile(r"[a-z0-9-]{1,80}", re.ASCII)
_IPV6_HOME: Final = 64  # bits: what one household or one rented server has for itself (A32)


class Line:
    """So many wait for an answer at once: the others need the threads. Few of them from one network, so that it shuts nobody else out."""

    def __init__(self, most: int, *, of_one: int = 2) -> None:
        self._most, self._of_one = most, of_one
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, network: str) -> Iterator[None]:
        """One place for a network. Raises `Busy` where there is none."""
        with self._lock:
            if self._waiting.total() >= self._most or self._waiting[network] >= self._of_one:
                raise Busy("too many look-ups at once")
            self._waiting[network] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= Counter([network])


SHOPPERS: Final = Line(8)
STAFF: Final = Line(4)


@dataclass(frozen=True, slots=True)
class Hosted:
    """The shop whose pages are seen, and the door that they are seen through."""

    shop: ShopKeys
    handle: str
    door: Door


def hosted(handle: str) -> Hosted:
    """The shop of this address; 404 where there is none, or it left. A shop whose keys were refused still takes returns."""
    hosting = here()
    if not _HANDLE.fullmatch(handle):
        abort(404)
    with hosting.database.reading() as session:
        row = shops.at(session, handle)
        if row is None or row.status is ShopStatus.UNINSTALLED:
            abort(404)
        return Hosted(keys_of(session, row.id), handle, hosting.door.within(links.portal(handle)))


def visit(at: Hosted, token: str) -> Visit:
    """The visit that a token carries. Raises `BadLink`, `ExpiredLink`."""
    return links.open_visit(here().vault, at.shop.id, token)


def from_our_own_page() -> None:
    """403 where another site sent this form (A37).

    Browsers say where a form comes from. `null` is what they call our own pages, which name no referrer.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin", "null")
    ours = urlsplit(here().door.base_url)
    if site not in {None, "same-origin", "none"} or (site is None and origin not in {"null", f"{ours.scheme}://{ours.netloc}"}):
        abort(403)


@contextmanager
def floor(line: Line = SHOPPERS) -> Iterator[None]:
    """Whatever comes of the look-up inside, it is answered after the same time, or a whole multiple of it (A31).

    Raises:
        Busy: so many wait already that nobody else would get a thread.
    """
    began = time.monotonic()
    with line.place(network()):
        try:
            yield
        finally:
            least = current_app.config.get(FLOOR_SETTING, FLOOR)
            if least:
                time.sleep(least - (time.monotonic() - began) % least)


def network() -> str:
    """Where the request comes from: the socket's address, or what the outermost of our own proxies wrote down (A32)."""
    written = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    return network_of(request.remote_addr or "", written, here().settings.proxies)


def network_of(socket: str, written: Sequence[str], proxies: int) -> str:
    """The network that is counted. With `proxies` of ours in front, each of which adds one entry, the last so many are theirs.

    Anybody can write what stands before those. An IPv6 address stands for its /64.
    """
    theirs = written[-proxies].strip() if 0 < proxies <= len(written) else ""
    found = _address(theirs) or _address(socket)
    if found is None:
        return "unknown"
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    if mapped is not None or isinstance(found, IPv4Address):
        return str(mapped or found)
    return str(ip_network((int(found), _IPV6_HOME), strict=False))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: also `192.0.2.1:4711` and `[2001:db8::1]:4711`."""
    bare = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    bare = bare.partition(":")[0] if bare.count(":") == 1 else bare
    try:
        return ip_address(bare.partition("%")[0])
    except ValueError:
        return None
