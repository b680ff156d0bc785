"""The arithmetic of a quote as a page shows it: a few lines that add up to what is received. Codes and amounts; pages have the words."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from connector.domain.orders import Order, Product
from connector.domain.policy import Decision, Outcome, RuleCode
from connector.domain.quote import DeductionKind, Quote
from connector.domain.wanted import Payout

_RULES = {DeductionKind.RESTOCKING: RuleCode.RESTOCKING_FEE, DeductionKind.RETURN_SHIPPING: RuleCode.RETURN_SHIPPING_FEE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line, in minor units with sign. `what`: item, shipping, fee, tax, rounding, capped, restocking, return_shipping, no_rma, bonus.

    `percent` is what a fee or a bonus is of its base; `some` says that not every item bears the fee, `free` that a reason lifted it,
    `less` that it was lowered to what was there.
    """

    what: str
    minor: int
    product: Product | None = None
    count: int = 0
    of: int = 0
    percent: str = ""
    some: bool = False
    free: bool = False
    less: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one payment of the order takes back. `by_hand`: the shop pays it, no machine can."""

    title: str
    kind: str
    minor: int
    by_hand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A quote for reading: the rows add up to `receive`. `tax` is the part of it that is tax, where prices include it."""

    currency: str
    credit: bool
    rows: tuple[Row, ...]
    receive: int
    tax: int
    bonus_percent: str
    shares: tuple[Share, ...]


def of_quote(quote: Quote, order: Order | None, decision: Decision) -> Sum:
    """The sum of a quote on this order, under the fees of this decision."""
    included = order is not None and order.prices_include_tax
    taxes = sum(part.worth.gross - part.worth.net for part in quote.parts)
    moving = quote.total + sum(fee.minor for fee in quote.deductions)
    rows = [*_parts(quote, order, included=included)]
    if taxes and not included:
        rows.append(Row(what="tax", minor=taxes))
    if rounding := quote.gross - sum(part.worth.gross for part in quote.parts):
        rows.append(Row(what="rounding", minor=rounding))
    if moving != quote.gross:
        rows.append(Row(what="capped", minor=moving - quote.gross))
    rows += _fees(quote, decision)
    if quote.bonus:
        rows.append(Row(what="bonus", minor=quote.bonus, percent=percent(decision.bonus_percent)))
    return Sum(
        currency=quote.currency,
        credit=quote.payout is Payout.STORE_CREDIT,
        rows=tuple(rows),
        receive=quote.total + quote.bonus,
        tax=taxes if included else 0,
        bonus_percent=percent(decision.bonus_percent) if quote.bonus else "",
        shares=_shares(quote, order),
    )


def percent(value: Fraction) -> str:
    """`12.5`: a percentage without needless zeros."""
    return f"{float(value):g}"


def _parts(quote: Quote, order: Order | None, *, included: bool) -> list[Row]:
    """What comes back: as it was charged, so net where tax was added on top."""
    lines = {} if order is None else {line.id: line for line in order.lines}
    rows = []
    for part in quote.lines:
        line = lines.get(part.id)
        minor = part.worth.gross if included else part.worth.net
        rows.append(
            Row(what="item", minor=minor, product=line.product if line else None, count=part.quantity, of=line.quantity if line else 0)
        )
    for what, charges in (("shipping", quote.shipping), ("fee", quote.fees)):
        rows += [Row(what=what, minor=part.worth.gross if included else part.worth.net) for part in charges]
    return rows


def _fees(quote: Quote, decision: Decision) -> list[Row]:
    """What is withheld, and the fees that a reason lifted: those are worth saying too."""
    rows = []
    for taken in quote.deductions:
        fee = decision.fee(_RULES[taken.kind]) if taken.kind in _RULES else None
        rows.append(
            Row(
                what=taken.kind.value,
                minor=-taken.minor,
                percent=percent(fee.percent) if fee and fee.percent else "",
                some=fee is not None and len(fee.lines) < len(quote.lines),
                less=taken.minor < taken.asked,
            )
        )
    for kind, rule in _RULES.items():
        lifted = next((dict(found.inputs) for found in decision.because if found.rule is rule and found.outcome is Outcome.FREE), {})
        if lifted and (lifted.get("percent", "0") != "0" or lifted.get("minor", "0") != "0"):
            rows.append(Row(what=kind.value, minor=0, free=True))
    return rows


def _shares(quote: Quote, order: Order | None) -> tuple[Share, ...]:
    tenders = {} if order is None else {tender.id: tender for tender in order.tenders}
    return tuple(
        Share(
            title=tenders[part.tender].title if part.tender in tenders else "",
            kind=tenders[part.tender].kind.value if part.tender in tenders else "other",
            minor=part.minor,
            by_hand=part.tender in tenders and not tenders[part.tender].pays_back,
        )
        for part in quote.tenders
    )
