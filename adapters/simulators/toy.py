"""A toy shop behind the port: for the crash tests and the demo.

This is the near side, the client with its errors; what really happened stands in the books (`books.py`). A fault can be
ordered for each step of a request. Three kinds of shop differ in what they can prove afterwards (`Proof`), as real ones do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from adapters.simulators.books import Books, Payment, Proof, Told
from connector.domain.connecting import CreditRest, CreditUse, Facts, UsedCredit
from connector.domain.money import Money, MoneyBag
from connector.domain.orders import CustomerRef, Order, OrderRef
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
    Throttled,
    Voided,
    WebhookHealth,
)  # fmt: skip

__all__ = ["Fault", "Payment", "Proof", "ToyStore", "connect"]


class Fault(StrEnum):
    """What may go wrong with one call."""

    REFUSE = "refuse"
    THROTTLE = "throttle"
    REVOKE = "revoke"
    LOSE_REQUEST = "lose_request"  # it never arrives
    LATE = "late"  # it arrives after the caller gave up
    SLOW = "slow"  # it is admitted at once and pays after the caller gave up
    LOSE_ANSWER = "lose_answer"  # it pays, and nobody hears of it
    HANG = "hang"  # it pays, and the answer takes its time


@dataclass(slots=True)
class ToyStore:
    """One toy shop. `clock` is the shop's own; `step` is called as a request passes each stage, for tests that stop there."""

    books: Path | str
    proof: Proof = Proof.REPLAY
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    step: Callable[[str], None] = lambda _name: None
    far: Books = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the books."""
        self.far = Books(self.books, self.proof, self.clock)

    # ── the shopkeeper ──

    def place(self, order: Order) -> None:
        """Put an order into the shop."""
        self.far.place(order)

    def fail_next(self, step: str, what: Fault, seconds: float = 0) -> None:
        """Order a fault for the next call of `refund`, `credit`, `order`, `look` or `mirror`."""
        self.far.order_fault(step, what.value, seconds)

    def heal(self) -> None:
        """Nothing more goes wrong."""
        self.far.heal()

    def payments(self, order: OrderRef | None = None) -> list[Payment]:
        """The books: every payment that really happened."""
        return self.far.payments(order)

    def returns(self) -> dict[str, ReturnView]:
        """The RMAs that the shop shows, by marker."""
        return self.far.returns()

    def close(self) -> None:
        """Close the books."""
        self.far.close()

    # ── the port ──

    def renew(self) -> Grant | None:
        """Its keys never expire."""
        return None

    def probe(self) -> Facts:
        """There is nothing to find out."""
        return {}

    def leave(self) -> None:
        """We left nothing there."""

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
        found = self.orders([ref])
        if not found:
            raise Rejected(f"no order {ref}")
        return found[0]

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        """Several orders, unknown ones left out."""
        return self.far.orders(refs)

    def orders_changed(self, since: datetime) -> Iterator[Order]:
        """Orders changed after `since`."""
        return (order for order in self.far.orders() if order.changed_at is None or order.changed_at > since)

    def import_orders(self, cursor: str | None) -> ImportPage:
        """Its whole history on one page."""
        return ImportPage(() if cursor else tuple(self.far.orders()), None)

    def find_order(self, number: str, email: str) -> Order | None:
        """Exactly this number and this e-mail."""
        return next(
            (order for order in self.far.orders() if order.number == number and order.buyer.email.casefold() == email.casefold()), None
        )

    def orders_of(self, customer: CustomerRef) -> Sequence[Order]:
        """The orders of one customer."""
        return [order for order in self.far.orders() if order.buyer.customer == customer]

    def search_orders(self, text: str) -> Sequence[Order]:
        """By number or e-mail: it knows no names."""
        return [order for order in self.far.orders() if text and text in (order.number, order.buyer.email)]

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

    def reissue_credit(self, used: UsedCredit) -> CreditRest:
        """It knows no codes: what it gives as credit keeps its rest."""
        return CreditRest(CreditUse.SPENT, Money(0, used.worth.currency))

    def mirror_return(self, view: ReturnView) -> ReturnRef:
        """Keep the RMA as it stands."""
        self._fault("mirror")
        self.far.show_return(view)
        return ReturnRef(f"return-{view.marker}")

    def _ask(self, kind: str, told: Told, attempt: Attempt) -> Receipt:
        """One request, from the near side's last check to the far side's answer."""
        what, seconds = self._fault(kind)
        self.step("before the check")
        if not attempt.still_mine():
            raise Voided(f"attempt {attempt.number}")
        if what is Fault.LOSE_REQUEST:
            raise OutcomeUnknown("connection reset")
        if what in (Fault.LATE, Fault.SLOW):
            self.far.take_in(kind, told, attempt, admitted=what is Fault.SLOW, after=timedelta(seconds=seconds))
            raise OutcomeUnknown("timed out")
        self.step("before the payment")
        receipt = self.far.pay(kind, told, attempt)
        self.step("after the payment")
        if what is Fault.LOSE_ANSWER:
            raise OutcomeUnknown("connection reset while reading")
        if what is Fault.HANG:
            time.sleep(seconds)
        return receipt

    def _look(self, told: Told, attempt: Attempt) -> Sighting:
        self._fault("look")
        return self.far.look(told, attempt)

    def _fault(self, step: str) -> tuple[Fault | None, float]:
        """The fault that was ordered for this step, used up. Those that end the call at once end it here."""
        found = self.far.take_fault(step)
        what, seconds = (Fault(found[0]), found[1]) if found else (None, 0.0)
        match what:
            case Fault.REFUSE:
                raise Rejected("the gateway says no")
            case Fault.THROTTLE:
                raise Throttled(timedelta(seconds=seconds))
            case Fault.REVOKE:
                raise Revoked("unknown key")
            case _:
                return what, seconds


def connect(domain: ShopDomain, credentials: Mapping[str, str], facts: Facts) -> ToyStore:
    """The toy shop behind these credentials: the path of its books, and what it can prove."""
    del domain, facts
    return ToyStore(credentials["books"], Proof(credentials["proof"]))
