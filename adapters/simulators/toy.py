"""A toy shop behind the port, with honest books: for the crash tests and the demo.

Its books are one SQLite file, the far side of every call: what is committed there has happened, whatever becomes of the
caller. A request arrives, is claimed, pays, and is answered, in that order, and a fault can be ordered for each step.
Three kinds of shop differ in what they can prove afterwards (`Proof`), as the real platforms do.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from connector.domain import codec
from connector.domain.money import MoneyBag
from connector.domain.orders import CustomerRef, Order, OrderRef, RefundRecord, RefundRef
from connector.domain.platform import (
    Attempt,
    Capabilities,
    Contact,
    CreditOrder,
    Grant,
    ImportPage,
    OutcomeUnknown,
    ReasonRef,
    Receipt,
    RefundOrder,
    Rejected,
    ReturnedLine,
    ReturnRef,
    ReturnView,
    Revoked,
    ShopDomain,
    Sighting,
    SightingKind,
    Throttled,
    Voided,
    WebhookHealth,
)  # fmt: skip
from connector.domain.standing import Ours, as_it_stands

_REPLAY: Final = timedelta(hours=23)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (ref TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS requests (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, not_after TEXT NOT NULL, claimed INTEGER NOT NULL, runs_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS burned (key TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (key, number));
CREATE TABLE IF NOT EXISTS payments (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, order_ref TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS returns (marker TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS faults (seq INTEGER PRIMARY KEY, step TEXT NOT NULL, what TEXT NOT NULL, seconds REAL NOT NULL);
"""


class Proof(StrEnum):
    """What the shop can say about a request that was never answered."""

    REPLAY = "replay"  # it keeps keys: the same key again is answered with the first result (Shopify's refundCreate)
    FENCE = "fence"  # a look-up of an unknown attempt burns it (WooCommerce with our plugin)
    NONE = "none"  # only payments can be listed (WooCommerce without it)


class Fault(StrEnum):
    """What may go wrong with one call."""

    REFUSE = "refuse"
    THROTTLE = "throttle"
    REVOKE = "revoke"
    LOSE_REQUEST = "lose_request"  # it never arrives
    LATE = "late"  # it arrives after the caller gave up
    SLOW = "slow"  # it is claimed at once and pays after the caller gave up
    LOSE_ANSWER = "lose_answer"  # it pays, and nobody hears of it
    HANG = "hang"  # it pays, and the answer takes its time


@dataclass(frozen=True, slots=True)
class Payment:
    """One entry of the shop's books."""

    reference: RefundRef
    key: str
    kind: str
    order: OrderRef
    told: RefundOrder | CreditOrder


@dataclass(slots=True)
class ToyStore:
    """One toy shop. `clock` is the shop's own; `step` is called as a request passes each stage, for tests that stop there."""

    books: Path | str
    proof: Proof = Proof.REPLAY
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    step: Callable[[str], None] = lambda _name: None
    _db: sqlite3.Connection = field(init=False, repr=False)
    _mutex: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        """Open the books."""
        self._db = sqlite3.connect(self.books, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.executescript(_SCHEMA)

    # ── the shopkeeper ──

    def place(self, order: Order) -> None:
        """Put an order into the shop."""
        with self._books() as books:
            books.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", (order.ref, codec.write(order)))

    def fail_next(self, step: str, what: Fault, seconds: float = 0) -> None:
        """Order a fault for the next call of `refund`, `credit`, `order`, `look` or `mirror`."""
        with self._books() as books:
            books.execute("INSERT INTO faults (step, what, seconds) VALUES (?, ?, ?)", (step, what.value, seconds))

    def heal(self) -> None:
        """Nothing more goes wrong: every fault that was ordered and not met is taken back."""
        with self._books() as books:
            books.execute("DELETE FROM faults")

    def payments(self, order: OrderRef | None = None) -> list[Payment]:
        """The books: every payment that really happened."""
        with self._books() as books:
            rows = books.execute(
                "SELECT seq, key, kind, order_ref, body FROM payments WHERE ?1 IS NULL OR order_ref = ?1 ORDER BY seq", (order,)
            )
            return [Payment(RefundRef(f"toy-{seq}"), key, kind, OrderRef(ref), _told(kind, body)) for seq, key, kind, ref, body in rows]

    # ── the port ──

    def renew(self) -> Grant | None:
        """Its keys never expire."""
        return None

    def capabilities(self) -> Capabilities:
        """A shop with a short memory for requests, so that tests need not wait long."""
        return Capabilities(timedelta(minutes=2), timedelta(seconds=20), timedelta(seconds=30), store_credit=True, restocks_per_line=True)

    def ensure_webhooks(self, base_url: str) -> WebhookHealth:
        """It sends none, and says so."""
        del base_url
        return WebhookHealth(active=False)

    def order(self, ref: OrderRef) -> Order:
        """The order with every payment of the books counted."""
        self._fault("order")
        found = self._orders("WHERE ref = ?", ref)
        if not found:
            raise Rejected(f"no order {ref}")
        return found[0]

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        """Several orders, unknown ones left out."""
        return self._orders(f"WHERE ref IN ({','.join('?' * len(refs))})", *refs)

    def orders_changed(self, since: datetime) -> Iterator[Order]:
        """Orders changed after `since`."""
        return (order for order in self._orders("") if order.changed_at is None or order.changed_at > since)

    def import_orders(self, cursor: str | None) -> ImportPage:
        """Its whole history on one page."""
        return ImportPage(() if cursor else tuple(self._orders("")), None)

    def find_order(self, number: str, email: str) -> Order | None:
        """Exactly this number and this e-mail."""
        return next(
            (order for order in self._orders("") if order.number == number and order.buyer.email.casefold() == email.casefold()), None
        )

    def orders_of(self, customer: CustomerRef) -> Sequence[Order]:
        """The orders of one customer."""
        return [order for order in self._orders("") if order.buyer.customer == customer]

    def search_orders(self, text: str) -> Sequence[Order]:
        """By number or e-mail: it knows no names."""
        return [order for order in self._orders("") if text and text in (order.number, order.buyer.email)]

    def contact(self, ref: OrderRef) -> Contact:
        """Who placed the order."""
        return Contact(self.order(ref).buyer.email)

    def return_reasons(self) -> Sequence[ReasonRef]:
        """It has none of its own."""
        return ()

    def suggested_refund(self, order: OrderRef, lines: Sequence[ReturnedLine]) -> MoneyBag | None:
        """It does not say."""
        del order, lines
        return None

    def refund(self, refund: RefundOrder, attempt: Attempt) -> Receipt:
        """Pay back."""
        return self._ask("refund", refund, attempt)

    def find_refund(self, refund: RefundOrder, attempt: Attempt) -> Sighting:
        """What became of it, as far as this shop can say."""
        return self._look(refund, attempt)

    def issue_credit(self, credit: CreditOrder, attempt: Attempt) -> Receipt:
        """Give store credit."""
        return self._ask("credit", credit, attempt)

    def find_credit(self, credit: CreditOrder, attempt: Attempt) -> Sighting:
        """What became of it, as far as this shop can say."""
        return self._look(credit, attempt)

    def mirror_return(self, view: ReturnView) -> ReturnRef:
        """Keep the RMA as it stands."""
        self._fault("mirror")
        with self._books() as books:
            books.execute("INSERT OR REPLACE INTO returns VALUES (?, ?)", (view.marker, codec.write(view)))
        return ReturnRef(f"return-{view.marker}")

    def returns(self) -> dict[str, ReturnView]:
        """The RMAs that the shop shows, by marker."""
        with self._books() as books:
            return {marker: codec.read(body, ReturnView) for marker, body in books.execute("SELECT marker, body FROM returns")}

    # ── the far side ──

    def _ask(self, kind: str, told: RefundOrder | CreditOrder, attempt: Attempt) -> Receipt:
        """One request, from the near side's last check to the far side's answer."""
        what, seconds = self._fault(kind)
        self.step("before the check")
        if not attempt.still_mine():
            raise Voided(f"attempt {attempt.number}")
        if what is Fault.LOSE_REQUEST:
            raise OutcomeUnknown("connection reset")
        if what in (Fault.LATE, Fault.SLOW):
            with self._books() as books:
                self._claim(books, kind, told, attempt, claimed=what is Fault.SLOW, runs_at=self.clock() + timedelta(seconds=seconds))
            raise OutcomeUnknown("timed out")
        self.step("before the payment")
        with self._books() as books:
            self._admit(books, told.key, attempt.number, attempt.not_after)
            receipt = self._pay(books, kind, told)
        self.step("after the payment")
        if what is Fault.LOSE_ANSWER:
            raise OutcomeUnknown("connection reset while reading")
        if what is Fault.HANG:
            time.sleep(seconds)
        return receipt

    def _look(self, told: RefundOrder | CreditOrder, attempt: Attempt) -> Sighting:
        self._fault("look")
        with self._books() as books:
            if (paid := self._receipt(books, told)) is not None:
                return Sighting(SightingKind.SETTLED, paid)
            if self.proof is Proof.REPLAY and attempt.looked_at - attempt.asked_first_at < _REPLAY:
                return Sighting(SightingKind.ABSENT)
            if self.proof is Proof.FENCE:
                if books.execute("SELECT 1 FROM requests WHERE key = ? AND claimed", (told.key,)).fetchone():
                    return Sighting(SightingKind.IN_DOUBT, words="still running")
                books.execute("INSERT OR IGNORE INTO burned VALUES (?, ?)", (told.key, attempt.number))
                return Sighting(SightingKind.ABSENT, burned=True)
            return Sighting(SightingKind.IN_DOUBT, words="no such payment listed")

    def _claim(
        self, books: sqlite3.Connection, kind: str, told: RefundOrder | CreditOrder, attempt: Attempt, *, claimed: bool, runs_at: datetime
    ) -> None:
        if claimed:
            self._admit(books, told.key, attempt.number, attempt.not_after)
        row = (told.key, attempt.number, kind, codec.write(told), attempt.not_after.isoformat(), claimed, runs_at.isoformat())
        books.execute("INSERT INTO requests (key, number, kind, body, not_after, claimed, runs_at) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _admit(self, books: sqlite3.Connection, key: str, number: int, not_after: datetime) -> None:
        """The fence: a burned or late attempt does nothing."""
        if self.proof is not Proof.FENCE:
            return
        burned = books.execute("SELECT 1 FROM burned WHERE key = ? AND number = ?", (key, number)).fetchone()
        if burned or self.clock() > not_after + timedelta(minutes=15):  # its clock may be off; the burning is what counts
            raise Voided(f"attempt {number} is dead")

    def _pay(self, books: sqlite3.Connection, kind: str, told: RefundOrder | CreditOrder) -> Receipt:
        """Money moves here, and nowhere else. Only the order's rest is checked, as WooCommerce does."""
        body = codec.write(told)
        if self.proof is not Proof.NONE and (
            earlier := books.execute("SELECT seq, body FROM payments WHERE key = ?", (told.key,)).fetchone()
        ):
            if earlier[1] != body:
                raise Rejected("this key was used for something else")
            return Receipt(RefundRef(f"toy-{earlier[0]}"), told.amount)
        order = next(iter(self._read(books, "WHERE ref = ?", told.order)), None)
        if order is None:
            raise Rejected(f"no order {told.order}")
        if told.amount.minor > order.total - order.refunded:
            raise Rejected(f"only {order.total - order.refunded} left")
        row = (told.key, kind, told.order, body)
        seq = books.execute("INSERT INTO payments (key, kind, order_ref, body) VALUES (?, ?, ?, ?)", row).lastrowid
        return Receipt(RefundRef(f"toy-{seq}"), told.amount)

    def _receipt(self, books: sqlite3.Connection, told: RefundOrder | CreditOrder) -> Receipt | None:
        found = books.execute("SELECT seq FROM payments WHERE key = ? ORDER BY seq", (told.key,)).fetchone()
        return Receipt(RefundRef(f"toy-{found[0]}"), told.amount) if found else None

    def _catch_up(self, books: sqlite3.Connection) -> None:
        """Run what callers gave up on and what is due by now."""
        now = self.clock()
        for seq, key, number, kind, body, not_after, claimed, runs_at in books.execute(
            "SELECT * FROM requests ORDER BY runs_at"
        ).fetchall():
            if datetime.fromisoformat(runs_at) <= now:
                books.execute("DELETE FROM requests WHERE seq = ?", (seq,))
                try:
                    if not claimed:
                        self._admit(books, key, number, datetime.fromisoformat(not_after))
                    self._pay(books, kind, _told(kind, body))
                except (Rejected, Voided):
                    continue  # nobody is left to hear it

    @contextmanager
    def _books(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up(self._db)
                yield self._db
            except (Rejected, Voided):
                self._db.execute("COMMIT")
                raise
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _fault(self, step: str) -> tuple[Fault | None, float]:
        """The fault that was ordered for this step, used up. Those that end the call at once end it here."""
        with self._books() as books:
            row = books.execute(
                "DELETE FROM faults WHERE seq = (SELECT min(seq) FROM faults WHERE step = ?) RETURNING what, seconds", (step,)
            ).fetchone()
        what, seconds = (Fault(row[0]), row[1]) if row else (None, 0.0)
        match what:
            case Fault.REFUSE:
                raise Rejected("the gateway says no")
            case Fault.THROTTLE:
                raise Throttled(timedelta(seconds=seconds))
            case Fault.REVOKE:
                raise Revoked("unknown key")
            case _:
                return what, seconds

    def _orders(self, where: str, *values: str) -> list[Order]:
        with self._books() as books:
            return self._read(books, where, *values)

    def _read(self, books: sqlite3.Connection, where: str, *values: str) -> list[Order]:
        return [
            _shown(codec.read(row[0], Order), self._payments_of(books, row[1]))
            for row in books.execute(f"SELECT body, ref FROM orders {where}", values).fetchall()  # noqa: S608 - constants of this file
        ]

    def _payments_of(self, books: sqlite3.Connection, ref: str) -> list[tuple[int, RefundOrder | CreditOrder]]:
        rows = books.execute("SELECT seq, kind, body FROM payments WHERE order_ref = ? ORDER BY seq", (ref,)).fetchall()
        return [(seq, _told(kind, body)) for seq, kind, body in rows]


def connect(domain: ShopDomain, credentials: Mapping[str, str]) -> ToyStore:
    """The toy shop behind these credentials: the path of its books, and what it can prove."""
    del domain
    return ToyStore(credentials["books"], Proof(credentials["proof"]))


def _shown(order: Order, payments: Sequence[tuple[int, RefundOrder | CreditOrder]]) -> Order:
    """The order as the shop shows it: what was paid back is on its lines and tenders, what was withheld can be worked out."""
    for seq, told in payments:
        booked = (*told.lines, *told.charges)
        gross = sum(line.worth.gross for line in booked)
        units = tuple((line.line, line.quantity) for line in told.lines)
        record = RefundRecord(RefundRef(f"toy-{seq}"), told.amount.minor, gross, units, key=told.key)
        kept = max(0, gross - told.amount.minor)
        row = Ours(
            told.amount.minor, kept, parts=told.parts if isinstance(told, RefundOrder) else (), lines=told.lines, charges=told.charges
        )
        order = replace(as_it_stands(order, [row]), refunds=(*order.refunds, record))
    return order


def _told(kind: str, body: bytes) -> RefundOrder | CreditOrder:
    return codec.read(body, RefundOrder) if kind == "refund" else codec.read(body, CreditOrder)
