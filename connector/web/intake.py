"""The door for deliveries: a small WSGI app in front of Flask, because routing and request objects cost more than the database.

A delivery is verified over its raw bytes, kept, and answered with an empty 200: nothing is parsed, and nobody is asked. 401 says that the
signature proves nothing, and nothing else is ever a 401. What was not kept for certain is a 503.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, OperationalError

from connector.db import Busy, Database
from connector.domain.platform import BadSignature, HttpRequest, Platform, WebhookEvent
from connector.ids import ordered_id
from connector.models import ShopStatus
from connector.secrets import Unreadable, Vault
from connector.services import inbox
from connector.services.inbox import Delivery
from connector.services.shops import unseal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LARGEST: Final = 1_000_000  # bytes of a delivery; an order with hundreds of lines has a tenth of it
PATIENCE: Final = 10.0  # seconds that a delivery waits to be kept
GATHER: Final = 0.005  # seconds that the first of a batch waits for those that are about to come
_ADDRESS = re.compile(r"/webhooks/([a-z]{1,20})/[A-Za-z0-9_-]{1,200}", re.ASCII)
_NAME = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)  # of a topic or a delivery: both stand outside the signature
_SECRETS: Final = ("delivery_secret", "delivery_secret_before")
_LIFE: Final = 30.0  # seconds that a door is known without asking the database
_SHORT_LIFE: Final = 5.0  # and one that nobody lives behind
_AGAIN: Final = 1.0  # seconds between two questions because signatures do not fit
_DOORS: Final = 10_000

log = logging.getLogger(__name__)


class Unanswerable(Exception):
    """A request that ends here, with this status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Intake:
    """`app` with the door for deliveries in front of it. `base_url` is our own address, whatever a request says in its Host header."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        db: Database,
        platforms: Mapping[str, Platform],
        vault: Vault,
        base_url: str,
        patience: float = PATIENCE,
    ) -> None:
        self._app = app
        self._platforms = platforms
        self._vault = vault
        self._base_url = base_url
        self._doors = _Doors(db, vault)
        self._writer = Writer(db, patience=patience)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        address = _ADDRESS.fullmatch(environ.get("PATH_INFO", ""))
        if address is None or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        try:
            status = self._receive(environ, address[1])
        except Unanswerable as end:
            status = end.status
        later = [("Retry-After", "10")] if status is HTTPStatus.SERVICE_UNAVAILABLE else []
        start_response(f"{status.value} {status.phrase}", [("Content-Length", "0"), *later])
        return []

    def close(self) -> None:
        """Keep what still waits, then end. Deliveries that come after this are answered with 503."""
        self._writer.close()

    def _receive(self, environ: WSGIEnvironment, name: str) -> HTTPStatus:
        if (platform := self._platforms.get(name)) is None:
            return HTTPStatus.NOT_FOUND
        request = HttpRequest("POST", self._base_url + environ["PATH_INFO"], _headers(environ), _body(environ))
        if (token := platform.claimed_shop(request).path_token) is None:
            return HTTPStatus.NOT_FOUND
        door = self._doors.at(platform.name, token)
        if door.shop is None:
            return HTTPStatus.NOT_FOUND
        if not door.wanted:
            return HTTPStatus.GONE
        event = self._proven(platform, request, token, door)
        if not event.topic:
            return HTTPStatus.OK
        if not _NAME.fullmatch(event.topic):
            return HTTPStatus.BAD_REQUEST
        row = ordered_id(datetime.now(UTC))  # it only sorts by that
        delivery = Delivery(
            row,
            door.shop,
            event.topic,
            inbox.digest(request.body),
            self._vault.encrypt("hint", row.hex, request.body),
            event.delivery if event.delivery and _NAME.fullmatch(event.delivery) else None,
        )
        return HTTPStatus.OK if self._writer.keep(delivery) else HTTPStatus.SERVICE_UNAVAILABLE

    def _proven(self, platform: Platform, request: HttpRequest, token: str, door: _Door) -> WebhookEvent:
        """The delivery, verified; with the keys of this moment where those that we knew do not fit."""
        try:
            return platform.read_webhook(request, door.keys)
        except BadSignature:
            anew = self._doors.at(platform.name, token, doubted=True)
            if anew.keys != door.keys:
                return self._proven(platform, request, token, anew)
            log.info("delivery.refused", extra={"shop": door.shop and door.shop.hex})
            raise Unanswerable(HTTPStatus.UNAUTHORIZED) from None


@dataclass(frozen=True, slots=True)
class _Door:
    """Who lives behind an address. Nobody: `shop` is None.

    By this process' clock it is believed until `known_until`, and `sure_until` even where a signature does not fit.
    """

    known_until: float
    sure_until: float
    shop: uuid.UUID | None = None
    wanted: bool = False
    keys: tuple[bytes, ...] = field(default=(), repr=False)


class _Doors:
    """The doors that were asked for of late; also those that nobody lives behind, so that guessing costs no more than it must."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._known: OrderedDict[tuple[str, str], _Door] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, platform: str, token: str, *, doubted: bool = False) -> _Door:
        """Who lives there; `doubted`: a signature does not fit. Raises `Unanswerable` where the database does not say."""
        place = platform, self._vault.digest("door", token)
        with self._lock:
            found = self._known.get(place)
        if found is not None and time.monotonic() < (found.sure_until if doubted else found.known_until):
            return found
        door = self._ask(*place, sure_for=_AGAIN if doubted else 0.0)
        with self._lock:
            self._known[place] = door
            self._known.move_to_end(place)
            while len(self._known) > _DOORS:
                self._known.popitem(last=False)
        return door

    def _ask(self, platform: str, door: str, *, sure_for: float) -> _Door:
        now = time.monotonic()
        try:
            with self._db.reading() as session:
                found = inbox.behind(session, platform, door)
            if found is None:
                return _Door(now + _SHORT_LIFE, now + _SHORT_LIFE)
            shop, status = found
            secrets = unseal(self._vault, shop)
        except (Busy, DBAPIError, Unreadable) as trouble:
            log.warning("door.unknown", extra={"error": type(trouble).__name__})
            raise Unanswerable(HTTPStatus.SERVICE_UNAVAILABLE) from None
        wanted = status is not ShopStatus.UNINSTALLED
        keys = tuple(secrets[name].encode() for name in _SECRETS if secrets.get(name))
        return _Door(now + (_LIFE if wanted else _SHORT_LIFE), now + sure_for, shop.id, wanted, keys)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A delivery whose sender waits for the answer."""

    delivery: Delivery
    kept: bool = False
    told: threading.Event = field(default_factory=threading.Event)


class Writer:
    """One thread that writes what waits: at most a hundred deliveries in one transaction, so that many share one wait for the disk.

    Senders who were answered together come back together. So a batch waits a moment until as many are there as were waiting when the
    last one was written; else half of them would be written while the other half comes, and each transaction cost twice its share
    (measured with eight senders: two thirds as many a second). Who comes alone waits for nobody.
    """

    def __init__(self, db: Database, *, patience: float = PATIENCE) -> None:
        self._db = db
        self._patience = patience
        self._waiting: deque[_Waiter] = deque()
        self._some = threading.Condition()
        self._expected = 1
        self._closed = False
        self._thread = threading.Thread(target=self._live, name="intake-writer", daemon=True)
        self._thread.start()

    def keep(self, delivery: Delivery) -> bool:
        """Whether it is kept for certain, said within the patience.

        Where it is being written by then, it may still come to be kept, which does no harm.
        """
        waiter = _Waiter(delivery)
        with self._some:
            if self._closed:
                return False
            self._waiting.append(waiter)
            if len(self._waiting) in {1, self._expected}:  # in between, the thread would wake up for nothing
                self._some.notify()
        if not waiter.told.wait(self._patience):
            with self._some, suppress(ValueError):
                self._waiting.remove(waiter)  # bodies must not pile up while the database hangs
        return waiter.kept

    def close(self) -> None:
        """Write what waits, and end."""
        with self._some:
            self._closed = True
            self._some.notify()
        self._thread.join()

    def _live(self) -> None:
        while batch := self._next():
            try:
                self._write_each(batch)
            finally:
                with self._some:
                    self._expected = min(len(batch) + len(self._waiting), inbox.BATCH)
                for waiter in batch:
                    waiter.told.set()

    def _next(self) -> Sequence[_Waiter]:
        """The next ones to write; none at the end."""
        with self._some:
            while not self._waiting and not self._closed:
                self._some.wait()
            self._some.wait_for(lambda: len(self._waiting) >= self._expected or self._closed, GATHER)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), inbox.BATCH))]

    def _write_each(self, batch: Sequence[_Waiter]) -> None:
        """All together. If the database cannot take that, each alone and once more, so that one takes no other down with it."""
        if self._write(batch) is False:
            for waiter in batch:
                if self._write([waiter]):
                    break

    def _write(self, batch: Sequence[_Waiter]) -> bool | None:
        """None: it is written. True: the database is away or busy. False: it cannot take something of this."""
        try:
            with self._db.transaction() as session:
                inbox.put(session, [waiter.delivery for waiter in batch], now=self._db.now(session))
        except Exception as error:  # noqa: BLE001 - this thread must not die: who waits gets a 503
            away = _away(error)
            log.error("delivery.unkept", extra={"count": len(batch), "away": away, "error": type(error).__name__})  # noqa: TRY400 - may hold rows
            return away
        for waiter in batch:
            waiter.kept = True
        return None


def _away(error: Exception) -> bool:
    """Whether the fault lies with the database and not with a row. A deadlock (class 40) hits one of two, and is over at once."""
    if isinstance(error, DBAPIError) and (getattr(error.orig, "sqlstate", None) or "").startswith("40"):
        return False
    return isinstance(error, Busy | OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _headers(environ: WSGIEnvironment) -> tuple[tuple[str, str], ...]:
    """Those that a proof may rest on. The server joins repeated ones with a comma."""
    return tuple((name[5:].replace("_", "-").lower(), value) for name, value in environ.items() if name.startswith("HTTP_"))


def _body(environ: WSGIEnvironment) -> bytes:
    """The raw body, whole. Raises `Unanswerable`."""
    said = environ.get("CONTENT_LENGTH") or ""
    if not said:
        return _chunks(environ)
    if not (said.isascii() and said.isdecimal()):
        raise Unanswerable(HTTPStatus.BAD_REQUEST)
    if len(said) > 12 or int(said) > LARGEST:
        raise Unanswerable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body: bytes = environ["wsgi.input"].read(int(said))
    if len(body) != int(said):
        raise Unanswerable(HTTPStatus.BAD_REQUEST)
    return body


def _chunks(environ: WSGIEnvironment) -> bytes:
    """A body whose length nobody said, as far as one byte too many. Only where the server promises that it ends; else this may hang."""
    if not environ.get("wsgi.input_terminated"):
        raise Unanswerable(HTTPStatus.LENGTH_REQUIRED)
    body = b""
    try:
        while more := environ["wsgi.input"].read(LARGEST + 1 - len(body)):
            body += more
    except OSError:  # gunicorn: chunks that are none, or that end early
        raise Unanswerable(HTTPStatus.BAD_REQUEST) from None
    if not body:
        raise Unanswerable(HTTPStatus.LENGTH_REQUIRED)
    if len(body) > LARGEST:
        raise Unanswerable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return body
