"""Calls to one store. The official `woocommerce` client builds and signs the requests; `wire` sends them.

A read may be asked again, a write never is. What is raised says what is now true (`answers`), and quotes no address, because
on some servers the keys have to stand in it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final, Literal
from urllib.parse import urlencode, urljoin, urlsplit

import requests
from woocommerce import API

from adapters.woocommerce import answers
from adapters.woocommerce.answers import Answer, Broken
from adapters.woocommerce.fields import At
from adapters.woocommerce.guard import Guard
from adapters.woocommerce.wire import Call, Wire, boot_clock
from connector.domain.connecting import NotConnectable
from connector.domain.platform import ShopDomain, Throttled

READ: Final = timedelta(seconds=30)
WRITE: Final = timedelta(seconds=120)
USER_AGENT: Final = f"Retour/{version('retour')}"
PAGE: Final = 100  # the most that WooCommerce lists at once
_AT_A_TIME: Final = 2  # small hosts have two PHP workers
_TURN: Final = timedelta(seconds=20)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOPS: Final = 3
_CHEAP: Final = "data"  # a short list of links, made without any order
_LATELY: Final = 30.0  # seconds

Method = Literal["POST", "PUT", "DELETE"]


class _Api(API):  # type: ignore[misc]  # the package has no annotations
    """The official client, with its one way out replaced.

    Its own (3.0.0) opens a connection for each call, follows redirects (a POST becomes a GET), gives up after 5 s, knows no
    deadline for the whole, writes the keys into the caller's parameters, and sends those twice where it signs.
    """

    def __init__(self, url: str, key: str, secret: str, wire: Wire) -> None:
        super().__init__(url, key, secret, version="wc/v3", user_agent=USER_AGENT)
        self._wire = wire

    def __repr__(self) -> str:
        return "<the keys of a store>"

    def _API__request(  # noqa: N802 - the name that the base class calls
        self,
        method: str,
        endpoint: str,
        data: object,
        params: Mapping[str, str] | None = None,
        *,
        call: Call,
        by_query: bool = False,
        over: str = "http",
    ) -> Answer:
        url, asked = self._API__get_url(endpoint), dict(params or {})
        if not self.is_ssl:  # over http WooCommerce takes signed requests only
            url = self._API__get_oauth_url(f"{url}?{urlencode(asked)}" if asked else url, method)
            url, asked = url.replace("http", over, 1), {}
        return self._wire.send(self._request(method, url, asked, data, by_query=by_query), call)

    def follow(self, url: str, *, call: Call, by_query: bool) -> Answer:
        """GET an address of this store that it named itself."""
        return self._wire.send(self._request("GET", url, {}, None, by_query=by_query), call)

    def _request(self, method: str, url: str, params: dict[str, str], data: object, *, by_query: bool) -> requests.Request:
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip", "Cache-Control": "no-cache"}
        body = None
        if data is not None:
            body, headers["Content-Type"] = json.dumps(data).encode(), "application/json;charset=utf-8"
        if by_query and self.is_ssl:
            params |= {"consumer_key": self.consumer_key, "consumer_secret": self.consumer_secret}
        auth = (self.consumer_key, self.consumer_secret) if self.is_ssl and not by_query else None
        return requests.Request(method, url, headers=headers, params=params, data=body, auth=auth)


@dataclass(slots=True)
class _Line:
    """What this process knows of a store beyond one `Client`: whose turn it is, and how its server takes the keys."""

    turns: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_AT_A_TIME))
    by_query: bool = False
    well_at: float = float("-inf")  # when it last answered something cheap


class Lines:
    """The connections of a process, and the turns at each store."""

    def __init__(self, guard: Guard, *, roots: str | None = None, stopwatch: Callable[[], timedelta] = boot_clock) -> None:
        self.wire = Wire(guard, roots=roots, stopwatch=stopwatch)
        self._known: dict[ShopDomain, _Line] = {}
        self._mutex = threading.Lock()

    def to(self, shop: ShopDomain, url: str, credentials: Mapping[str, str], *, auth: str) -> Client:
        """A client for this store. `auth` is "query" where its server is known to drop the Authorization header."""
        with self._mutex:
            line = self._known.setdefault(shop, _Line())
        line.by_query = line.by_query or auth == "query"
        return Client(self.wire, line, url, credentials.get("consumer_key", ""), credentials.get("consumer_secret", ""))


class Client:
    """One store's REST interface, version 3."""

    def __init__(self, wire: Wire, line: _Line, url: str, key: str, secret: str) -> None:
        self.wire, self.url = wire, url
        self._line, self._keys = line, (key, secret)
        self._api = _Api(url, key, secret, wire)

    def __repr__(self) -> str:
        return "<a store>"

    def at(self, url: str) -> Client:
        """The same keys and turns at another address of the store."""
        return Client(self.wire, self._line, url, *self._keys)

    def within(self, longest: timedelta) -> Client:
        """The same for what may take so long from now on, all questions together: then it raises `Overdue`."""
        return Client(self.wire.within(longest), self._line, self.url, *self._keys)

    @property
    def by_query(self) -> bool:
        """Whether the keys stand in the address, because the server drops the header that they belong in."""
        return self._line.by_query

    # ── reads ──

    def read(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """What stands at `path`: an object or a list.

        Raises: `Rejected` (there is no such thing, or the question was wrong), `Throttled`, `Revoked`; `Broken` where the shop fails
        over this read and answers others.
        """
        return self._read(path, params)[0]

    def pages(self, path: str, params: Mapping[str, str] | None = None) -> Iterator[At]:
        """Everything of a list, each item once by its id. Raises as `read` does."""
        seen: set[object] = set()
        page, last = 1, False
        while not last:
            found, headers = self._read(path, {**(params or {}), "per_page": str(PAGE), "page": str(page)})
            items = [item for item in At(found).items() if item.key("id").value not in seen]
            seen |= {item.key("id").value for item in items}
            yield from items
            total = headers.get("x-wp-totalpages", "")
            more = page < int(total[:6]) if total.isdecimal() else isinstance(found, list) and len(found) >= PAGE
            page, last = page + 1, not items or not more

    def answer(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """Whatever is answered to a read, for who wants to know why. Raises `Throttled` where no turn is free."""
        # Some hosts keep answers of /wp-json for minutes; WordPress passes over a parameter that it does not know.
        asked = {**(params or {}), "retour": secrets.token_hex(4)}
        with self._turn():
            got = self._get(path, asked, by_query=self._line.by_query)
            if got.status == 401 and got.code != "woocommerce_rest_authentication_error" and self._api.is_ssl and not self._line.by_query:
                again = self._get(path, asked, by_query=True)
                if again.status != 401:
                    self._line.by_query, got = True, again
        return got

    def signed_as_http(self, path: str) -> Answer:
        """A read with a signature over the http address, sent over https: only a store that thinks it was asked over http takes it."""
        plain = _Api(self.url.replace("https:", "http:", 1), *self._keys, self.wire)
        with self._turn():
            got: Answer = plain.get(path, call=Call(READ, self.wire.guard), over=urlsplit(self.url).scheme)
        return got

    def _read(self, path: str, params: Mapping[str, str] | None) -> tuple[object, Mapping[str, str]]:
        got = self.answer(path, params)
        found = got.json if got.status == 200 else None
        if found is None:
            trouble = answers.of_read(got)
            if isinstance(trouble, Broken) and not self._is_well():
                raise Throttled(answers.SOON, got.words)
            raise trouble
        return found, got.headers

    def _is_well(self) -> bool:
        """Whether WordPress answers what costs it nothing, now or a moment ago: if not, it is the shop that fails, not a read."""
        if time.monotonic() - self._line.well_at > _LATELY:
            got = self.answer(_CHEAP)
            if not got.is_json or got.status not in range(200, 500) or got.status == 429:
                return False
            self._line.well_at = time.monotonic()
        return True

    def _get(self, path: str, params: Mapping[str, str], *, by_query: bool) -> Answer:
        call = Call(READ, self.wire.guard)
        got: Answer = self._api.get(path, params=params, call=call, by_query=by_query)
        if got.status == 0 and call.reused and not call.late:  # the other side closed a kept connection
            got = self._api.get(path, params=params, call=Call(READ, self.wire.guard, alone=True), by_query=by_query)
        url = self.url
        for _ in range(_HOPS):
            where = got.headers.get("location", "")
            try:
                url = urljoin(url, where)
            except ValueError:  # no address at all
                break
            if got.status not in _REDIRECTS or not where or not same_host(url, self.url):
                break
            got = self._api.follow(url, call=Call(READ, self.wire.guard), by_query=by_query)
        return got

    # ── writes ──

    def write(
        self,
        method: Method,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        still_mine: Callable[[], bool] | None = None,
    ) -> At:
        """Ask for a change, once, on a connection of its own. What comes back is an object with an id: POST 201, else 200.

        Raises:
            Rejected, Throttled, Revoked, Voided: nothing was changed.
            OutcomeUnknown: the request may have left.
        """
        got = self.ask(method, path, body, params=params, still_mine=still_mine)
        found = got.json if got.status == (201 if method == "POST" else 200) else None
        if not isinstance(found, dict) or type(found.get("id")) is not int:
            raise answers.of_write(got)
        return At(found)

    def ask(
        self,
        method: Method,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        still_mine: Callable[[], bool] | None = None,
        patience: timedelta | None = None,
    ) -> Answer:
        """Whatever is answered to a write, within `WRITE` if nothing else is said. Raises `Throttled` where no turn is free, `Voided`."""
        call = Call(patience or WRITE, self.wire.guard, still_mine, alone=True)
        by_query = self._line.by_query
        with self._turn():
            if method == "DELETE":
                got: Answer = self._api.delete(path, params=params, call=call, by_query=by_query)
            else:
                send: Any = self._api.post if method == "POST" else self._api.put
                got = send(path, dict(body or {}), params=params, call=call, by_query=by_query)
        return got

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._line.turns.acquire(timeout=max(0.0, min(_TURN, self.wire.left).total_seconds())):
            raise Throttled(timedelta(seconds=5), "busy with our own calls")
        try:
            yield
        except NotConnectable:  # its name leads into a private network by now: nobody was asked
            raise Throttled(answers.BLOCKED, "no connection") from None
        finally:
            self._line.turns.release()


def same_host(one: str, other: str) -> bool:
    """Whether two addresses have the same scheme, host and port."""
    first, second = urlsplit(one), urlsplit(other)
    try:
        return (first.scheme, first.hostname, first.port) == (second.scheme, second.hostname, second.port)
    except ValueError:
        return False
