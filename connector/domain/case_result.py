"""A quote, or the refusal of one, in the result format of `docs/amounts.md`; keys in the order of that text."""

from __future__ import annotations

from typing import assert_never

from connector.domain.money import show
from connector.domain.narrate import sentence
from connector.domain.orders import Worth
from connector.domain.quote import Quote
from connector.domain.refusals import Unpriceable


def render(answer: Quote | Unpriceable, places: int) -> dict[str, object]:
    """`answer` as JSON values; `places` is the number of decimals of its amounts."""
    match answer:
        case Quote():
            return _quote(answer, places)
        case Unpriceable():
            return _refused(answer, places)
        case _:
            assert_never(answer)


def _quote(quote: Quote, places: int) -> dict[str, object]:
    return {
        "refused": None,
        "lines": [{"id": part.id, "quantity": part.quantity, **_worth(part.worth, places)} for part in quote.lines],
        "shipping": [{"id": part.id, **_worth(part.worth, places)} for part in quote.shipping],
        "order_fees": [{"id": part.id, **_worth(part.worth, places)} for part in quote.fees],
        "deductions": [{"kind": fee.kind.value, "amount": show(fee.minor, places)} for fee in quote.deductions],
        "gross": show(quote.gross, places),
        "total": show(quote.total, places),
        "bonus": show(quote.bonus, places),
        "tenders": [{"id": part.tender, "amount": show(part.minor, places)} for part in quote.tenders],
        "clamped": [
            {"part": clamp.part, "asked": show(clamp.asked, places), "given": show(clamp.given, places)} for clamp in quote.clamped
        ],
        "remaining": show(quote.remaining, places),
        "because": [sentence(step, places) for step in quote.because],
    }


def _refused(answer: Unpriceable, places: int) -> dict[str, object]:
    zero = show(0, places)
    return {
        "refused": {"code": answer.refusal.value, "message": sentence(answer.because, places)},
        "lines": [],
        "shipping": [],
        "order_fees": [],
        "deductions": [],
        "gross": zero,
        "total": zero,
        "bonus": zero,
        "tenders": [],
        "clamped": [],
        "remaining": show(answer.remaining, places),
        "because": [],
    }


def _worth(worth: Worth, places: int) -> dict[str, object]:
    return {
        "net": show(worth.net, places),
        "tax": [{"rate": tax.rate, "amount": show(tax.minor, places)} for tax in worth.tax],
        "gross": show(worth.gross, places),
    }
