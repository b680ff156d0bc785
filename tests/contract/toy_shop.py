"""Who keeps the toy shop. There is no bin and no admin: what they would do is done in its books."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector.domain.money import Money
from connector.domain.orders import Buyer, LineRef, Order, OrderLine, OrderRef, Product, RateRef, Tax, Tender, TenderKind, TenderRef, Worth
from connector.domain.platform import RefundOrder, TenderPart
from tests.contract.store_contract import Article, Subject, attempt

_CARD = TenderRef("card")
_VAT = 20  # per cent, on top of a price


@dataclass(eq=False)
class ToyKeeper:
    """Keeps the orders as they were placed: the books add what was paid back."""

    toy: ToyStore
    placed: dict[OrderRef, Order] = field(default_factory=dict)

    def place(self, articles: Sequence[Article], *, email: str = "kim@example.com", code: str = "", pays: bool = True) -> OrderRef:
        assert not code, "the toy shop knows no codes"
        lines = tuple(_line(place, article) for place, article in enumerate(articles, 1))
        total, now = sum(line.worth.gross for line in lines), datetime.now(UTC)
        ref = OrderRef(uuid.uuid4().hex)
        self._put(
            Order(
                ref,
                "EUR",
                total,
                number=f"N-{ref}",
                lines=lines,
                tenders=(Tender(_CARD, total, kind=TenderKind.CARD),) if pays else (),
                paid=pays,
                placed_at=now,
                changed_at=now,
                buyer=Buyer(email),
            )
        )
        return ref

    def cancel(self, ref: OrderRef) -> None:
        self._put(replace(self.placed[ref], cancelled=True))

    def restore(self, ref: OrderRef) -> None:
        self._put(replace(self.placed[ref], cancelled=False))

    def bin(self, ref: OrderRef) -> None:
        self.cancel(ref)

    def delete(self, ref: OrderRef) -> None:
        with self.toy.far.open() as books:
            books.execute("DELETE FROM orders WHERE ref = ?", (ref,))

    def refund(self, ref: OrderRef, minor: int) -> None:
        told = RefundOrder(uuid.uuid4().hex, ref, "", Money(minor, "EUR"), (TenderPart(_CARD, minor),))
        self.toy.far.pay("refund", told, attempt(told.key))

    def paid_back(self, ref: OrderRef) -> list[int]:
        return [payment.told.amount.minor for payment in self.toy.payments(ref) if payment.kind == "refund"]

    def _put(self, order: Order) -> None:
        self.placed[order.ref] = order
        self.toy.place(order)


def _line(place: int, article: Article) -> OrderLine:
    net = article.price * article.quantity
    return OrderLine(
        LineRef(f"line-{place}"),
        article.quantity,
        Worth(net, (Tax(RateRef("vat"), net * _VAT // 100),)),
        product=Product(title=article.title),
    )


@contextmanager
def toy(proof: Proof) -> Iterator[Subject]:
    """A toy shop that keeps its promise by this proof."""
    store = ToyStore(":memory:", proof)
    try:
        yield Subject(store, ToyKeeper(store), OrderRef("gone"), lambda: store.fail_next("refund", Fault.LOSE_ANSWER))
    finally:
        store.close()
