"""The case format of `docs/amounts.md`: one order and one return as JSON, read strictly, priced, and the command around it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Final, TextIO

from connector.domain.case_result import render
from connector.domain.money import MalformedAmount, decimals
from connector.domain.orders import (
    Charge,
    ChargeRef,
    LineRef,
    Order,
    OrderLine,
    OrderRef,
    RateRef,
    Tax,
    Tender,
    TenderKind,
    TenderRef,
    Worth,
)
from connector.domain.quote import price
from connector.domain.strict_json import Fields, Malformed, brief, loads
from connector.domain.tenders import TenderOrder
from connector.domain.wanted import ImpossibleWish, Payout, Wanted, WantedCharge, WantedLine

_CASE: Final = "currency decimals prices_include_tax total refunded kept lines shipping order_fees tenders tender_order paid return"
_RETURN: Final = "lines shipping order_fees amount currency restocking_fee return_shipping_fee no_rma_fee as bonus tender_order"
_MOST_DECIMALS: Final = 18  # no currency has more; ISO 4217 stops at 4


def read(raw: bytes) -> tuple[Order, Wanted, int]:
    """The order, what is asked of it, and the number of decimals that amounts are printed with.

    Raises:
        Malformed: the case is not what the format says.
    """
    bare = Fields.of(loads(raw), "", _CASE)
    currency = bare.text("currency")
    try:
        places = bare.count("decimals", decimals(currency))
    except MalformedAmount:
        raise bare.wrong("currency", "an ISO 4217 code of three capital letters") from None
    if places > _MOST_DECIMALS:
        raise bare.wrong("decimals", f"a whole number from 0 to {_MOST_DECIMALS}")
    case = Fields(bare.values, "", places)
    order = _order(case, currency)
    wanted = case.inner("return", _RETURN)
    if case.has("tender_order") and wanted.has("tender_order"):
        raise case.wrong("tender_order", "it once, for the order or in its return")
    tender_order = _tender_order(case if case.has("tender_order") else wanted, order)
    return order, _wanted(wanted, tender_order), places


def run(raw: bytes) -> dict[str, object]:
    """The result of one case, ready to be printed. Raises `Malformed`."""
    order, wanted, places = read(raw)
    return render(price(order, wanted), places)


def _order(case: Fields, currency: str) -> Order:
    if not case.has("total"):
        raise case.wrong("total", "what the order cost in all")
    order = Order(
        ref=OrderRef(""),
        currency=currency,
        total=case.positive("total"),
        prices_include_tax=case.flag("prices_include_tax", default=False),
        refunded=case.positive("refunded"),
        kept=case.positive("kept"),
        lines=case.each("lines", "id quantity net tax refunded", _line),
        shipping=case.each("shipping", "id net tax refunded", _charge),
        fees=case.each("order_fees", "id net tax refunded", _charge),
        tenders=case.each("tenders", "id kind captured refunded", _tender),
        paid=case.flag("paid", default=True),
    )
    for key, parts in (("lines", order.lines), ("shipping", order.shipping), ("order_fees", order.fees), ("tenders", order.tenders)):
        _once(key, (part.id for part in parts))
    return order


def _line(fields: Fields) -> OrderLine:
    worth = _worth(fields)
    refunded = fields.inner("refunded", "quantity net tax")
    return OrderLine(
        id=LineRef(fields.text("id")),
        quantity=fields.count("quantity"),
        worth=worth,
        refunded_quantity=refunded.count("quantity", 0),
        refunded=_refunded(refunded, worth),
    )


def _charge(fields: Fields) -> Charge:
    worth = _worth(fields)
    return Charge(ChargeRef(fields.text("id")), worth, _refunded(fields.inner("refunded", "net tax"), worth))


def _worth(fields: Fields) -> Worth:
    """Net and taxes of a part, all of one sign."""
    worth = Worth(fields.amount("net"), fields.each("tax", "rate amount", _tax))
    _once(fields.at("tax"), (tax.rate for tax in worth.tax))
    signs = [worth.net, *(tax.minor for tax in worth.tax)]
    if min(signs) < 0 < max(signs):
        raise Malformed(f"{fields.at('')}net and tax of one part have different signs")
    return worth


def _refunded(fields: Fields, paid: Worth) -> Worth:
    """What of a part went back: of the rates that it has, and of its sign."""
    worth = _worth(fields)
    for tax in worth.tax:
        if tax.rate not in {own.rate for own in paid.tax}:
            raise Malformed(f"{fields.at('tax')}: the rate {brief(tax.rate)} was not paid on this part")
    if worth.gross * paid.gross < 0:
        raise Malformed(f"{fields.at('')}refunded with another sign than paid")
    return worth


def _tax(fields: Fields) -> Tax:
    return Tax(RateRef(fields.text("rate")), fields.amount("amount"))


def _tender(fields: Fields) -> Tender:
    kind = fields.text("kind") if fields.has("kind") else ""
    return Tender(
        id=TenderRef(fields.text("id")),
        captured=fields.positive("captured"),
        refunded=fields.positive("refunded"),
        kind=TenderKind(kind) if kind in set(TenderKind) else TenderKind.OTHER,
    )


def _wanted(fields: Fields, tender_order: TenderOrder) -> Wanted:
    """What is asked. `Wanted` itself refuses what contradicts itself."""
    restocking = fields.inner("restocking_fee", "percent amount")
    if fields.has("restocking_fee") and len(restocking.values) != 1:
        raise fields.wrong("restocking_fee", '{"percent": "10"} or {"amount": "5.00"}')
    bonus = fields.inner("bonus", "percent")
    if fields.has("bonus") and not bonus.values:
        raise fields.wrong("bonus", '{"percent": "10"}')
    try:
        return Wanted(
            lines=fields.each("lines", "id quantity amount", _wanted_line),
            shipping=fields.each("shipping", "id amount", _wanted_charge),
            fees=fields.each("order_fees", "id amount", _wanted_charge),
            amount=_explicit(fields),
            currency=fields.text("currency") if fields.has("currency") else None,
            restocking_percent=restocking.percent("percent"),
            restocking_fee=restocking.amount("amount"),
            return_shipping_fee=fields.amount("return_shipping_fee"),
            no_rma_fee=fields.amount("no_rma_fee"),
            payout=_payout(fields),
            bonus_percent=bonus.percent("percent"),
            tender_order=tender_order,
        )
    except ImpossibleWish as error:
        raise Malformed(f"return.{error}") from None


def _wanted_line(fields: Fields) -> WantedLine:
    quantity = fields.whole("quantity") if fields.has("quantity") else None
    return WantedLine(LineRef(fields.text("id")), quantity, _explicit(fields))


def _wanted_charge(fields: Fields) -> WantedCharge:
    return WantedCharge(ChargeRef(fields.text("id")), _explicit(fields))


def _explicit(fields: Fields) -> int | None:
    """An explicit amount, which is not the same omitted and zero."""
    return fields.amount("amount") if fields.has("amount") else None


def _payout(fields: Fields) -> Payout:
    asked = fields.text("as") if fields.has("as") else Payout.ORIGINAL
    if asked not in set(Payout):
        raise fields.wrong("as", " or ".join(Payout))
    return Payout(asked)


def _tender_order(fields: Fields, order: Order) -> TenderOrder:
    asked = fields.values.get("tender_order", "newest_first")
    if asked in ("newest_first", "oldest_first"):
        return TenderOrder(oldest_first=asked == "oldest_first")
    if not isinstance(asked, list):
        raise fields.wrong("tender_order", "newest_first, oldest_first or a list of tender ids")
    known = {str(tender.id): tender.id for tender in order.tenders}
    for one in asked:
        if not isinstance(one, str) or one not in known:
            raise Malformed(f"{fields.at('tender_order')}: {brief(one)} is no tender of the order")
    _once(fields.at("tender_order"), asked)
    return TenderOrder(first=tuple(known[one] for one in asked))


def _once(key: str, ids: Iterable[str]) -> None:
    for found, times in Counter(ids).items():
        if times > 1:
            raise Malformed(f"{key}: {brief(found)} is listed twice")


def command(arguments: Sequence[str], stdin: BinaryIO, stdout: BinaryIO, stderr: TextIO) -> int:
    """`python -m connector.domain.quote [--many]`: cases in, results out; 2 for a malformed case, else 0."""
    parser = argparse.ArgumentParser(prog="python -m connector.domain.quote", description="Price one return: a case in, a quote out.")
    parser.add_argument("--many", action="store_true", help="read one case a line, print one result a line")
    if parser.parse_args(arguments).many:
        for line in stdin:  # bytes: only a line feed ends a line
            _print(_run_or_say(line.removesuffix(b"\n")), stdout)
        return 0
    try:
        result = run(stdin.read())
    except Malformed as error:
        stderr.write(f"malformed: {error}\n")
        return 2
    _print(result, stdout, indent=2)
    return 0


def _run_or_say(line: bytes) -> dict[str, object]:
    try:
        return run(line)
    except Malformed as error:
        return {"malformed": str(error)}


def _print(result: dict[str, object], stdout: BinaryIO, indent: int | None = None) -> None:
    stdout.write(json.dumps(result, ensure_ascii=False, indent=indent).encode() + b"\n")
    stdout.flush()


def main() -> int:
    """The command over the process's own streams."""
    return command(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer, sys.stderr)
