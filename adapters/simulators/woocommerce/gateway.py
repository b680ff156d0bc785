"""The payment gateway and its books: what is written there has left the shop's account, whatever WooCommerce believes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from adapters.simulators.woocommerce.faults import Kind
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import GoesOn, PhpDied, Site, read

UNSUPPORTED: Final = "The payment gateway for this order does not support automatic refunds."
MISSING: Final = "The payment gateway for this order does not exist."
FALSE: Final = "An error occurred while attempting to create the refund using the payment gateway API."


class Declined(Exception):
    """The gateway reports an error; its words are what the client is told."""


@dataclass(frozen=True, slots=True)
class Paid:
    """One payment back to a shopper. `amount` is exactly what the gateway was told; an empty one may have meant everything."""

    order: int
    refund: int
    amount: str
    reason: str
    at: datetime


@dataclass(slots=True)
class Till:
    """The gateway's side. `most` is how many refunds of one order were ever in it at once, `met` the reasons of each two that were.

    A refund whose client gave up is in it until it has paid.
    """

    site: Site
    most: int = 0
    met: list[tuple[str, str]] = field(default_factory=list)
    _inside: dict[int, dict[int, str]] = field(default_factory=dict)  # by order: the reason of each refund
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def refund(self, order: Thing, refund: Thing, then: Callable[[], object]) -> None:
        """process_refund. `then` is the rest of the shop's work, for a client that gives up while this goes on.

        Raises:
            Declined: nothing was paid, or so it says.
            PhpDied: the process ended in the middle.
            GoesOn: the client hears nothing, and the rest is done later.
        """
        gateway = self.site.settings.gateway(order["payment_method"])
        if gateway is None:
            raise Declined(MISSING)
        if not gateway.refunds:
            raise Declined(UNSUPPORTED)
        self._enter(order["id"], refund)
        try:
            self.site.switches.passing("in the gateway")
            self._answer(order, refund, then)
        except GoesOn:
            raise
        except BaseException:
            self._leave(order["id"], refund)
            raise
        self._leave(order["id"], refund)

    def payments(self) -> list[Paid]:
        """The books, oldest first."""
        rows = self.site.shelves.all("payment")
        return [Paid(row["order"], row["refund"], row["amount"], row["reason"], read(row["created"])) for row in rows]

    def _enter(self, order: int, refund: Thing) -> None:
        with self._mutex:
            inside = self._inside.setdefault(order, {})
            self.met.extend((reason, refund["reason"]) for reason in inside.values())
            inside[refund["id"]] = refund["reason"]
            self.most = max(self.most, len(inside))

    def _leave(self, order: int, refund: Thing) -> None:
        with self._mutex:
            del self._inside[order][refund["id"]]

    def _answer(self, order: Thing, refund: Thing, then: Callable[[], object]) -> None:
        fault = self.site.faults.take({"gateway"})
        if fault is None:
            self._pay(order, refund)
            return
        match fault.kind:
            case Kind.REFUSE | Kind.THROW:
                raise Declined(fault.words or "Card refund declined: insufficient balance.")
            case Kind.RETURN_FALSE:
                raise Declined(FALSE)
            case Kind.SLEEP:
                time.sleep(fault.seconds)
                self._pay(order, refund)
            case Kind.SLEEP_AND_REFUSE:
                time.sleep(fault.seconds)
                raise Declined(fault.words or "Card refund declined: insufficient balance.")
            case Kind.PAY_AND_REFUSE:
                self._pay(order, refund)
                raise Declined(fault.words or "cURL error 28: Operation timed out after 30001 milliseconds with 0 bytes received")
            case Kind.DIE_BEFORE_PAYING:
                raise PhpDied(fault.status)
            case Kind.DIE_AFTER_PAYING:
                self._pay(order, refund)
                raise PhpDied(fault.status)
            case Kind.GO_ON:
                raise GoesOn(lambda: self._late(order, refund, then), timedelta(seconds=fault.seconds))
            case _:
                self._pay(order, refund)

    def _late(self, order: Thing, refund: Thing, then: Callable[[], object]) -> None:
        try:
            self._pay(order, refund)
        finally:
            self._leave(order["id"], refund)
        then()

    def _pay(self, order: Thing, refund: Thing) -> None:
        payment = {"id": self.site.shelves.next("payment"), "order": order["id"], "refund": refund["id"], "amount": refund["amount"]}
        payment |= {"reason": refund["reason"], "created": self.site.now()}
        self.site.shelves.put("payment", payment, parent=order["id"])
