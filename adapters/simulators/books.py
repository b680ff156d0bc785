"""The far side of the toy shop: its books, one SQLite file. What is committed there has happened, whatever becomes of the caller.

A request arrives, is admitted, pays, and is answered, in that order. Money moves in `pay` and nowhere else.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from connector.domain import codec
from connector.domain.orders import Order, OrderRef, RefundRecord, RefundRef
from connector.domain.platform import Attempt, CreditOrder, Receipt, RefundOrder, Rejected, ReturnView, Sighting, SightingKind, Voided
from connector.domain.standing import Ours, as_it_stands

Told: TypeAlias = RefundOrder | CreditOrder

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


@dataclass(frozen=True, slots=True)
class Payment:
    """One entry of the shop's books."""

    reference: RefundRef
    key: str
    kind: str
    order: OrderRef
    told: Told


@dataclass(slots=True)
class Books:
    """The books, open. `clock` is the shop's own and may be off."""

    path: Path | str
    proof: Proof
    clock: Callable[[], datetime]
    _db: sqlite3.Connection = field(init=False, repr=False)
    _mutex: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        """Open the file, making it if it is missing."""
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the far side. What was due over there has run before it; a refusal is an outcome and commits."""
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up()
                yield self._db
            except (Rejected, Voided):
                self._db.execute("COMMIT")
                raise
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # ── what is on the shelves ──

    def place(self, order: Order) -> None:
        """Put an order into the shop."""
        with self.open() as books:
            books.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", (order.ref, codec.write(order)))

    def orders(self, refs: Sequence[OrderRef] | None = None) -> list[Order]:
        """These orders, or all, as the shop shows them: with every payment counted."""
        with self.open() as books:
            rows = books.execute("SELECT ref, body FROM orders ORDER BY rowid").fetchall()
            return [_shown(codec.read(body, Order), self._paid_back(ref)) for ref, body in rows if refs is None or ref in refs]

    def payments(self, order: OrderRef | None = None) -> list[Payment]:
        """Every payment that really happened."""
        with self.open() as books:
            rows = books.execute(
                "SELECT seq, key, kind, order_ref, body FROM payments WHERE ?1 IS NULL OR order_ref = ?1 ORDER BY seq", (order,)
            )
            return [Payment(_reference(seq), key, kind, OrderRef(ref), _told(kind, body)) for seq, key, kind, ref, body in rows]

    def show_return(self, view: ReturnView) -> None:
        """Keep an RMA as it stands."""
        with self.open() as books:
            books.execute("INSERT OR REPLACE INTO returns VALUES (?, ?)", (view.marker, codec.write(view)))

    def returns(self) -> dict[str, ReturnView]:
        """The RMAs that the shop shows, by marker."""
        with self.open() as books:
            return {marker: codec.read(body, ReturnView) for marker, body in books.execute("SELECT marker, body FROM returns")}

    # ── money ──

    def pay(self, kind: str, told: Told, attempt: Attempt) -> Receipt:
        """Admit a request and pay it, in one transaction. Raises `Voided`, `Rejected`."""
        with self.open():
            self._admit(told.key, attempt.number, attempt.not_after)
            return self._pay(kind, told)

    def take_in(self, kind: str, told: Told, attempt: Attempt, *, admitted: bool, after: timedelta) -> None:
        """A request whose caller gives up: it is admitted now or on arrival, and pays `after` a while."""
        with self.open() as books:
            if admitted:
                self._admit(told.key, attempt.number, attempt.not_after)
            runs_at = (self.clock() + after).isoformat()
            row = (told.key, attempt.number, kind, codec.write(told), attempt.not_after.isoformat(), admitted, runs_at)
            books.execute("INSERT INTO requests (key, number, kind, body, not_after, claimed, runs_at) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def look(self, told: Told, attempt: Attempt) -> Sighting:
        """What became of a request, as far as this shop can say."""
        with self.open() as books:
            paid = books.execute("SELECT seq FROM payments WHERE key = ? ORDER BY seq", (told.key,)).fetchone()
            if paid is not None:
                return Sighting(SightingKind.SETTLED, Receipt(_reference(paid[0]), told.amount))
            match self.proof:
                case Proof.REPLAY if attempt.looked_at - attempt.asked_first_at < _REPLAY:
                    return Sighting(SightingKind.ABSENT)  # asked again, it answers with the first result
                case Proof.FENCE if books.execute("SELECT 1 FROM requests WHERE key = ? AND claimed", (told.key,)).fetchone():
                    return Sighting(SightingKind.IN_DOUBT, words="still running")
                case Proof.FENCE:
                    books.execute("INSERT OR IGNORE INTO burned VALUES (?, ?)", (told.key, attempt.number))
                    return Sighting(SightingKind.ABSENT, burned=True)
                case _:
                    return Sighting(SightingKind.IN_DOUBT, words="no such payment listed")

    def _admit(self, key: str, number: int, not_after: datetime) -> None:
        """The fence: a burned or late attempt does nothing."""
        if self.proof is not Proof.FENCE:
            return
        burned = self._db.execute("SELECT 1 FROM burned WHERE key = ? AND number = ?", (key, number)).fetchone()
        if burned or self.clock() > not_after + timedelta(minutes=15):  # its clock may be off; the burning is what counts
            raise Voided(f"attempt {number} is dead")

    def _pay(self, kind: str, told: Told) -> Receipt:
        """Money moves here. Only the order's rest is checked, as WooCommerce does; a shop that keeps keys replays them."""
        body = codec.write(told)
        earlier = self._db.execute("SELECT seq, body FROM payments WHERE key = ?", (told.key,)).fetchone()
        if earlier and self.proof is not Proof.NONE:
            if earlier[1] != body:
                raise Rejected("this key was used for something else")
            return Receipt(_reference(earlier[0]), told.amount)
        stored = self._db.execute("SELECT body FROM orders WHERE ref = ?", (told.order,)).fetchone()
        if stored is None:
            raise Rejected(f"no order {told.order}")
        order = _shown(codec.read(stored[0], Order), self._paid_back(told.order))
        if told.amount.minor > order.total - order.refunded:
            raise Rejected(f"only {order.total - order.refunded} left")
        row = (told.key, kind, told.order, body)
        seq = self._db.execute("INSERT INTO payments (key, kind, order_ref, body) VALUES (?, ?, ?, ?)", row).lastrowid
        return Receipt(_reference(seq), told.amount)

    def _paid_back(self, order: str) -> list[tuple[int, Told]]:
        rows = self._db.execute("SELECT seq, kind, body FROM payments WHERE order_ref = ? ORDER BY seq", (order,)).fetchall()
        return [(seq, _told(kind, body)) for seq, kind, body in rows]

    def _catch_up(self) -> None:
        """Run what callers gave up on and what is due by now."""
        now = self.clock()
        for seq, key, number, kind, body, not_after, claimed, runs_at in self._db.execute(
            "SELECT * FROM requests ORDER BY runs_at"
        ).fetchall():
            if datetime.fromisoformat(runs_at) <= now:
                self._db.execute("DELETE FROM requests WHERE seq = ?", (seq,))
                try:
                    if not claimed:
                        self._admit(key, number, datetime.fromisoformat(not_after))
                    self._pay(kind, _told(kind, body))
                except (Rejected, Voided):
                    continue  # nobody is left to hear it

    # ── faults ──

    def order_fault(self, step: str, what: str, seconds: float) -> None:
        """A fault for the next call of `step`."""
        with self.open() as books:
            books.execute("INSERT INTO faults (step, what, seconds) VALUES (?, ?, ?)", (step, what, seconds))

    def take_fault(self, step: str) -> tuple[str, float] | None:
        """The oldest fault that was ordered for `step`, used up by this."""
        with self.open() as books:
            taken = "DELETE FROM faults WHERE seq = (SELECT min(seq) FROM faults WHERE step = ?) RETURNING what, seconds"
            found: tuple[str, float] | None = books.execute(taken, (step,)).fetchone()
            return found

    def heal(self) -> None:
        """Every fault that was ordered and not met is taken back."""
        with self.open() as books:
            books.execute("DELETE FROM faults")


def _shown(order: Order, payments: Sequence[tuple[int, Told]]) -> Order:
    """The order as the shop shows it: what was paid back is on its lines and tenders, what was withheld can be worked out."""
    for seq, told in payments:
        booked = (*told.lines, *told.charges)
        gross = sum(line.worth.gross for line in booked)
        units = tuple((line.line, line.quantity) for line in told.lines)
        record = RefundRecord(_reference(seq), told.amount.minor, gross, units, key=told.key)
        kept = max(0, gross - told.amount.minor)
        row = Ours(
            told.amount.minor, kept, parts=told.parts if isinstance(told, RefundOrder) else (), lines=told.lines, charges=told.charges
        )
        order = replace(as_it_stands(order, [row]), refunds=(*order.refunds, record))
    return order


def _reference(seq: int | None) -> RefundRef:
    return RefundRef(f"toy-{seq}")


def _told(kind: str, body: bytes) -> Told:
    return codec.read(body, RefundOrder) if kind == "refund" else codec.read(body, CreditOrder)
