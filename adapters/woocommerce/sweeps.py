"""Lists by time: what changed since, and the history.

WooCommerce (10.5) passes over parameters that it does not know, so what comes back is checked against what was asked.
Pages shift while orders change, so each question goes on from the last time seen. Times have a resolution of one second and
`modified_after` and `modified_before` are exclusive: each question asks for that second again, and pages only where one second
fills a whole page. One order that breaks its page is found in smaller ones and stepped past.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.woocommerce.answers import Broken
from adapters.woocommerce.client import PAGE
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import MOST_LOST, Orders
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import ImportPage, Reached, Unread

HISTORY: Final = timedelta(days=400)
_EVER, _NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
LONGEST: Final = timedelta(seconds=90)  # of one sweep, or of one page of the history
_SECOND: Final = timedelta(seconds=1)
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)/([1-9]\d{0,6})", re.ASCII)
_SMALLER: Final = (50, 25, 5, 1)  # parts of a page, each a whole number of the next

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Page:
    """A page of a list of orders, and those of it that break whatever shows them."""

    found: list[tuple[At, datetime]] = field(default_factory=list)
    lost: list[Unread] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.found) + len(self.lost) >= PAGE


def changed(orders: Orders, since: datetime) -> Iterator[Order | Unread | Reached]:
    """Brief orders changed or refunded after `since`, in stretches of a page of refunds each, so that who stops has come forward.

    In each stretch first those whose refunds alone tell of it: a refund does not always change its order (`GET /refunds`,
    WooCommerce 9.0), and such an order's own time is long past. Then the changed ones, oldest change first, and in their places those
    refunded ones that changed and are in the bin: no list by time shows them. So whoever stops anywhere has all up to the last change.

    Raises:
        Overdue: there is more than a sweep may take.
    """
    orders = replace(orders, client=orders.client.within(LONGEST))
    after = since.astimezone(UTC).replace(microsecond=0)
    waiting: dict[OrderRef, Order] = {}
    for refs, until in _refunded_since(orders, after):
        for order in orders.apart(refs):
            if isinstance(order, Unread) or order.changed_at is None or order.changed_at <= after:
                yield order
            else:
                waiting[order.ref] = order
        if until is not None and until <= after:
            continue
        for order in orders.each(_modified(orders, after, until)):
            if isinstance(order, Order):
                waiting.pop(order.ref, None)
                yield from _binned(waiting, _at(order) - _SECOND)
            yield order
        yield from _binned(waiting, until or _NEVER)
        if until is not None:
            yield Reached(until)
        after = until or after


def _binned(waiting: dict[OrderRef, Order], until: datetime) -> list[Order]:
    """Those that the list by time should have shown by then, oldest change first. They wait no longer."""
    found = sorted((order for order in waiting.values() if _at(order) <= until), key=_at)
    for order in found:
        del waiting[order.ref]
    return found


def _at(order: Order) -> datetime:
    return order.changed_at or _EVER


def _refunded_since(orders: Orders, since: datetime) -> Iterator[tuple[Sequence[OrderRef], datetime | None]]:
    """The orders of refunds made after `since`, a page at a time, and until when all are known by then; None: all there are."""
    told: set[OrderRef] = set()
    seen: set[int] = set()
    after, page = since, 1
    while True:
        try:
            refunds = _refunds(orders, after, page)
        except Broken:  # open returns are read again every day, whatever their shop tells
            log.error("refunds.unreadable")  # noqa: TRY400 - no traceback is needed
            yield (), None
            return
        ids = {refund.whole("id") for refund, _ in refunds}
        if len(refunds) >= PAGE and page > 1 and ids <= seen:
            raise Untranslatable("refunds", "the same page again")
        seen |= ids
        parents = dict.fromkeys(refund.whole("parent_id", lowest=0) for refund, _ in refunds)
        refs = [ref for parent in parents if parent and (ref := OrderRef(str(parent))) not in told]  # 0: its order is gone
        told |= set(refs)
        if len(refunds) < PAGE:
            yield refs, None
            return
        newest = max(made for _, made in refunds) - _SECOND
        after, page = (newest, 1) if newest > after else (after, page + 1)
        yield refs, after


def _refunds(orders: Orders, after: datetime, page: int) -> list[tuple[At, datetime]]:
    asked = {"after": _text(after), "dates_are_gmt": "true", "orderby": "date", "order": "asc", "per_page": str(PAGE), "page": str(page)}
    found: list[tuple[At, datetime]] = []
    for refund in At(orders.client.read("refunds", asked)).items():
        made = refund.instant("date_created_gmt")
        if made is None or made <= after:
            refund.key("date_created_gmt").refuse("a time before the one that was asked for")
        found.append((refund, made))
    return found


def _modified(orders: Orders, after: datetime, until: datetime | None) -> Iterator[At | Unread]:
    """What changed after the one time, and not after the other."""
    seen: set[tuple[int, datetime]] = set()
    before: list[tuple[int, datetime]] = []
    number, bound = 1, {} if until is None else {"modified_before": _text(until + _SECOND)}
    while True:
        page = _page(orders, {"modified_after": _text(after), "order": "asc", **bound}, number)
        for body, at in page.found:
            if at <= after or (until is not None and at > until):
                body.key("date_modified_gmt").refuse("a time outside those that were asked for")
            if (body.whole("id"), at) not in seen:
                seen.add((body.whole("id"), at))
                yield body
        yield from page.lost
        if not page.is_full:
            return
        these = [(body.whole("id"), at) for body, at in page.found]
        if number > 1 and these and these == before:
            raise Untranslatable("orders", "the same page again")
        before = these
        newest = max((at for _, at in page.found), default=after) - _SECOND
        after, number = (newest, 1) if newest > after else (after, number + 1)


def history(orders: Orders, cursor: str | None) -> ImportPage:
    """A page of the orders that changed in the last 400 days, newest change first. A cursor that is none begins anew.

    What changes while this runs moves to the front, past the cursor: the poll finds it.

    Raises:
        Overdue: its page takes longer than it may.
    """
    orders = replace(orders, client=orders.client.within(LONGEST))
    began = datetime.now(UTC).replace(microsecond=0)
    known = _CURSOR.fullmatch(cursor or "")
    try:
        before = datetime.fromisoformat(known[1]).replace(tzinfo=UTC) if known else began + timedelta(days=1)
    except ValueError:
        known, before = None, began + timedelta(days=1)
    number = int(known[2]) if known else 1
    after = began - HISTORY
    page = _page(orders, {"modified_before": _text(before), "modified_after": _text(after), "order": "desc"}, number)
    for body, at in page.found:
        if not after < at < before:
            body.key("date_modified_gmt").refuse("a time outside those that were asked for")
    following: str | None = None
    if page.is_full:
        oldest = min((at for _, at in page.found), default=before) + _SECOND
        following = f"{_text(oldest)}/1" if oldest < before else f"{_text(before)}/{number + 1}"
    read = list(orders.each([*(body for body, _ in page.found), *page.lost]))
    shown, unread = (each for each in read if isinstance(each, Order)), (each for each in read if isinstance(each, Unread))
    return ImportPage(tuple(shown), following, tuple(unread))


def _page(orders: Orders, asked: dict[str, str], number: int) -> _Page:
    try:
        return _Page(_asked(orders, asked, PAGE, number))
    except Broken:
        page = _Page()
        _in_parts(orders, asked, (number - 1) * PAGE, PAGE, page)
        return page


def _in_parts(orders: Orders, asked: dict[str, str], start: int, size: int, page: _Page) -> None:
    """Read so many places of a list in smaller pages, and step past an order that breaks even one of its own.

    The last come first: what changes meanwhile leaves its place, and all behind it move forward, where they are still read.

    Raises:
        Broken: too many do. Then it is the shop that fails.
    """
    part = next(each for each in _SMALLER if each < size and size % each == 0)
    for place in range(start + size - part, start - 1, -part):
        try:
            found = _asked(orders, asked, part, place // part + 1)
        except Broken:
            if len(page.lost) >= MOST_LOST:
                raise
            if part > 1:
                _in_parts(orders, asked, place, part, page)
            else:
                page.lost.append(Unread(_named(orders, asked, place + 1)))
        else:
            known = {body.whole("id") for body, _ in page.found}
            page.found[:0] = [(body, at) for body, at in found if body.whole("id") not in known]


def _named(orders: Orders, asked: dict[str, str], number: int) -> OrderRef | None:
    """Which order it is: WooCommerce makes no more of an order than the fields that were asked for."""
    try:
        body = next(_list(orders, {**asked, "_fields": "id"}, 1, number), None)
        return None if body is None else OrderRef(str(body.whole("id", lowest=1)))
    except Untranslatable:
        return None


def _asked(orders: Orders, asked: dict[str, str], size: int, number: int) -> list[tuple[At, datetime]]:
    found: list[tuple[At, datetime]] = []
    for body in _list(orders, asked, size, number):
        at = body.instant("date_modified_gmt")
        if at is None:
            raise Untranslatable("date_modified_gmt", "null")
        found.append((body, at))
    return found


def _list(orders: Orders, asked: dict[str, str], size: int, number: int) -> Iterator[At]:
    whole = {"dates_are_gmt": "true", "orderby": "modified", "status": "any", "per_page": str(size), "page": str(number)}
    return At(orders.client.read("orders", {**asked, **whole})).items()


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")
