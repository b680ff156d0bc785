"""The door for deliveries on real sockets, and whoever delivers there: the genuine samples, or bytes that a test signs itself."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from adapters.woocommerce.platform import WooPlatform
from connector.db import Database
from connector.domain.platform import ShopDomain
from connector.models import HintRow, Shop
from connector.secrets import Vault
from connector.services import shops
from connector.web.intake import PATIENCE, Intake
from connector.web.server import SLOWEST, Server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SAMPLES: Final = Path(__file__).parent.parent / "data" / "woocommerce"
SECRET: Final = "whsec_sample_0123456789abcdef"  # with which the samples are signed
DOOR: Final = "door-of-the-samples"
PATH: Final = f"/webhooks/woocommerce/{DOOR}"
_PATIENCE: Final = 60.0  # seconds, on a busy machine
_OF_THE_CONNECTION: Final = {"Connection", "Content-Length", "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery: its headers, which stand outside the signature, and its bytes."""

    headers: Mapping[str, str]
    body: bytes

    def but(self, body: bytes | None = None, **headers: str | None) -> Sent:
        """The same with another body or other headers; None takes one away."""
        named = {f"X-WC-Webhook-{name.title().replace('_', '-')}": value for name, value in headers.items()}
        kept = {name: value for name, value in (dict(self.headers) | named).items() if value is not None}
        return Sent(kept, self.body if body is None else body)


def genuine(name: str) -> Sent:
    """A delivery as WooCommerce 10.5 sent it."""
    kept = json.loads((SAMPLES / f"webhook-{name}.json").read_text(encoding="utf-8"))
    return Sent({name: value for name, value in kept["headers"].items() if name not in _OF_THE_CONNECTION}, kept["body_raw"].encode())


def signature(body: bytes, secret: str = SECRET) -> str:
    """In the one form in which WooCommerce writes it."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def signed(body: bytes, *, topic: str = "order.updated", secret: str = SECRET) -> Sent:
    """A delivery of these bytes, with the headers of a genuine one."""
    return genuine("order-created").but(body, topic=topic, signature=signature(body, secret))


def of_order(ref: int, *, seen: int = 0, **how: str) -> Sent:
    """A delivery about this order, large as a genuine one; `seen` tells one state of it from another."""
    head, rest = genuine("order-created").body.split(b",", 1)
    assert head.startswith(b'{"id":')
    return signed(b'{"id":%d,"seen":%d,%s' % (ref, seen, rest), **how)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class House:
    """A web process' server. `beyond` is what came past the door."""

    server: Server
    db: Database
    beyond: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def post(self, sent: Sent, path: str = PATH, *, method: str = "POST") -> Answer:
        return ask(self.server.port, method, path, sent)

    def posted(self, sent: Sent, path: str = PATH) -> int:
        """The status of the answer."""
        return self.post(sent, path).status

    def raw(self, said: bytes) -> bytes:
        """What is answered to exactly these bytes, until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=_PATIENCE) as line:
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            return everything_of(line)

    def hints(self) -> list[HintRow]:
        return hints(self.db)


def said(sent: Sent, *, length: str | None = None, more: str = "") -> bytes:
    """The bytes of a request, with whatever length it claims."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
    claimed = "" if length is None else f"Content-Length: {length}\r\n"
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}{claimed}{more}\r\n".encode() + sent.body


def status_of(answer: bytes) -> int:
    """0: there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def ask(port: int, method: str, path: str, sent: Sent) -> Answer:
    """One request on a connection of its own, as WooCommerce sends it."""
    line = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        line.request(method, path, sent.body, {**sent.headers, "Connection": "close"})
        answer: HTTPResponse = line.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        line.close()


def everything_of(line: socket.socket) -> bytes:
    """Until the other end closes, or cuts."""
    heard = b""
    try:
        while more := line.recv(65536):
            heard += more
    except ConnectionResetError:
        pass
    return heard


def hints(db: Database) -> list[HintRow]:
    with db.reading() as session:
        return list(session.execute(select(HintRow).order_by(HintRow.id)).scalars())


def connected(db: Database, vault: Vault, *, door: str = DOOR, **secrets: str) -> uuid.UUID:
    """A WooCommerce shop whose deliveries come to this door; `secrets` are those of its credentials that a test wants otherwise."""
    credentials = {"url": "https://shop.example.com", "consumer_key": "ck_x", "consumer_secret": "cs_x", "door": door}
    with db.transaction() as session:
        shop = shops.connect(
            session,
            platform="woocommerce",
            domain=ShopDomain(f"{uuid.uuid4().hex}.example.com"),
            credentials=credentials | {"delivery_secret": SECRET} | secrets,
            vault=vault,
            time_zone="UTC",
            now=db.now(session),
        )
        session.get_one(Shop, shop).door = vault.digest("door", door)
    return shop


def reseal(db: Database, vault: Vault, shop: uuid.UUID, **secrets: str) -> None:
    """Give the shop other credentials, as when its secret is changed."""
    with db.transaction() as session:
        row = session.get_one(Shop, shop)
        row.credentials = shops.seal(vault, shop, shops.unseal(vault, shops.keys_of(session, shop)) | secrets)


@contextmanager
def at_home(app: WSGIApplication, *, slowest: float = SLOWEST, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server that serves while the block lasts, and leaves as it does when it is told to stop."""
    server = Server(app, host, 0, slowest=slowest)
    stopping = threading.Event()
    thread = threading.Thread(target=server.run, args=(stopping.is_set,))
    thread.start()
    try:
        yield server
    finally:
        stopping.set()
        server.wake()
        thread.join()


@contextmanager
def house(db: Database, vault: Vault, *, patience: float = PATIENCE) -> Iterator[House]:
    """The door for deliveries as it stands in production; what it lets past is noted and not found."""
    beyond: list[str] = []

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        beyond.append(environ["PATH_INFO"])
        start("404 Not Found", [("Content-Length", "0")])
        return []

    platform = WooPlatform(dev=True)
    intake = Intake(app, db=db, platforms={platform.name: platform}, vault=vault, base_url="https://returns.example.com", patience=patience)
    try:
        with at_home(intake) as server:
            yield House(server, db, beyond)
    finally:
        intake.close()


class Watched(Database):
    """A database that counts what is asked and committed, opens its transactions when the gate is open, and fails on order."""

    def __init__(self, url: str, **more: Any) -> None:
        super().__init__(url, **more)
        self.reads = 0
        self.commits = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.trouble: list[Exception] = []
        self.before_commit: Callable[[Session], None] = lambda _session: None
        self.after_commit: Callable[[], None] = lambda: None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self.reads += 1
        with super().reading() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self.begun.set()
        assert self.gate.wait(_PATIENCE)
        if self.trouble:
            raise self.trouble.pop(0)
        with super().transaction() as session:
            yield session
            self.before_commit(session)
        self.commits += 1
        self.after_commit()


def full(db: Database) -> Callable[[], None]:
    """From now on the file of this SQLite database cannot grow (F44), until what this returns is called."""

    def shut(connection: Any, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    def make_room() -> None:
        event.remove(db.engine, "connect", shut)
        db.dispose()

    db.dispose()
    event.listen(db.engine, "connect", shut)
    return make_room


def until(so: Callable[[], bool]) -> None:
    """Wait for it."""
    late = time.monotonic() + _PATIENCE
    while not so():
        assert time.monotonic() < late, "it never came about"
        time.sleep(0.005)


def at_once(acts: Sequence[Callable[[], object]]) -> list[object]:
    """What each of these comes to, done at the same time in a thread of its own."""
    ready = threading.Barrier(len(acts), timeout=_PATIENCE)
    came: list[object] = [None] * len(acts)

    def act(place: int) -> None:
        ready.wait()
        try:
            came[place] = acts[place]()
        except Exception as error:  # noqa: BLE001 - the test judges it
            came[place] = error

    threads = [threading.Thread(target=act, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came
