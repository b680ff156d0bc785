"""Lists by time: what changed since, and the history.

WooCommerce (10.5) passes over parameters that it does not know, so what comes back is checked against what was asked.
Pages shift while orders change, so each question goes on from the last time seen. Times have a resolution of one second and
`modified_after` and `modified_before` are exclusive: each question asks for that second again, and pages only where one second
fills a whole page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.woocommerce.client import PAGE
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import Orders
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import ImportPage

HISTORY: Final = timedelta(days=400)
_SECOND: Final = timedelta(seconds=1)
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)/([1-9]\d{0,6})", re.ASCII)


def changed(orders: Orders, since: datetime) -> Iterator[Order]:
    """Brief orders changed or refunded after `since`.

    First those whose refunds alone tell of it: a refund does not always change its order (`GET /refunds`, WooCommerce 9.0), and
    such an order's own time lies before `since`. Then the changed ones, oldest change first. Last those refunded ones that changed
    and are in the bin: no list by time shows them.
    """
    since = since.astimezone(UTC).replace(microsecond=0)
    binned: dict[OrderRef, Order] = {}
    for order in orders.readable(orders.together(_refunded_since(orders, since))):
        if order.changed_at is None or order.changed_at <= since:
            yield order
        else:
            binned[order.ref] = order
    for order in orders.readable(_modified_since(orders, since)):
        binned.pop(order.ref, None)
        yield order
    yield from binned.values()


def _refunded_since(orders: Orders, since: datetime) -> list[OrderRef]:
    asked = {"after": _text(since), "dates_are_gmt": "true", "orderby": "date", "order": "asc"}
    parents: dict[OrderRef, None] = {}
    for refund in orders.client.pages("refunds", asked):
        made = refund.instant("date_created_gmt")
        if made is None or made <= since:
            refund.key("date_created_gmt").refuse("a time before the one that was asked for")
        if parent := refund.whole("parent_id", lowest=0):  # 0: its order is gone
            parents[OrderRef(str(parent))] = None
    return list(parents)


def _modified_since(orders: Orders, since: datetime) -> Iterator[At]:
    seen: set[tuple[int, datetime]] = set()
    before: list[tuple[int, datetime]] = []
    after, page = since, 1
    while True:
        found = _page(orders, {"modified_after": _text(after), "order": "asc", "page": str(page)})
        for body, at in found:
            if at <= after:
                body.key("date_modified_gmt").refuse("a time before the one that was asked for")
            if (body.whole("id"), at) not in seen:
                seen.add((body.whole("id"), at))
                yield body
        if len(found) < PAGE:
            return
        these = [(body.whole("id"), at) for body, at in found]
        if page > 1 and these == before:
            raise Untranslatable("orders", "the same page again")
        before = these
        newest = max(at for _, at in found) - _SECOND
        after, page = (newest, 1) if newest > after else (after, page + 1)


def history(orders: Orders, cursor: str | None) -> ImportPage:
    """A page of the orders that changed in the last 400 days, newest change first. A cursor that is none begins anew.

    What changes while this runs moves to the front, past the cursor: the poll finds it.
    """
    began = datetime.now(UTC).replace(microsecond=0)
    known = _CURSOR.fullmatch(cursor or "")
    try:
        before = datetime.fromisoformat(known[1]).replace(tzinfo=UTC) if known else began + timedelta(days=1)
    except ValueError:
        known, before = None, began + timedelta(days=1)
    page = int(known[2]) if known else 1
    after = began - HISTORY
    asked = {"modified_before": _text(before), "modified_after": _text(after), "order": "desc", "page": str(page)}
    found = _page(orders, asked)
    for body, at in found:
        if not after < at < before:
            body.key("date_modified_gmt").refuse("a time outside those that were asked for")
    following: str | None = None
    if len(found) == PAGE:
        oldest = min(at for _, at in found) + _SECOND
        following = f"{_text(oldest)}/1" if oldest < before else f"{_text(before)}/{page + 1}"
    return ImportPage(tuple(orders.readable(body for body, _ in found)), following)


def _page(orders: Orders, asked: dict[str, str]) -> list[tuple[At, datetime]]:
    whole = {**asked, "dates_are_gmt": "true", "orderby": "modified", "per_page": str(PAGE), "status": "any"}
    found: list[tuple[At, datetime]] = []
    for body in At(orders.client.read("orders", whole)).items():
        at = body.instant("date_modified_gmt")
        if at is None:
            raise Untranslatable("date_modified_gmt", "null")
        found.append((body, at))
    return found


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")
