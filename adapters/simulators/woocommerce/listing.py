"""Lists of REST: filters, sorting, pages, and the headers that count them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from adapters.simulators.woocommerce.asking import Answer, Asking, as_utc
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site, written

_STATUSES: Final = (
    "any",
    "trash",
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
)
_COLUMNS: Final = {"date": "created", "id": "id", "include": "id", "title": "name", "slug": "name", "modified": "modified"}
_FILTERS: Final = (
    ("after", "created", ">"),
    ("before", "created", "<"),
    ("modified_after", "modified", ">"),
    ("modified_before", "modified", "<"),
)
_NEW: Final = frozenset({"modified_after", "modified_before", "dates_are_gmt"})


def page(site: Site, asking: Asking, kind: str, show: Callable[[Thing], object], *, old: bool = False, parent: int | None = None) -> Answer:
    """One page of a list. An `old` shop knows no `modified_after` and ignores it."""
    size = asking.whole("per_page", 10, 1, 100)
    number = asking.whole("page", 1, 1)
    where, values = _where(site, asking, kind, old=old)
    if parent is not None:
        where, values = f"{where} AND parent = ?", [*values, parent]
    column = _COLUMNS[asking.one_of("orderby", "date", list(_COLUMNS))]
    direction = asking.one_of("order", "desc", ("asc", "desc"))
    # Nobody promises an order among things of one second, so there is a strange one.
    ties = "id % 7, id" if column == "modified" else f"id {direction}"
    search = asking.text("search").lower()
    if search:
        found = [thing for thing in site.shelves.find(f"{where} ORDER BY {column} {direction}, {ties}", values) if _matches(thing, search)]
        total, rows = len(found), found[(number - 1) * size : number * size]
    else:
        total = site.shelves.count(where, values)
        rows = site.shelves.find(f"{where} ORDER BY {column} {direction}, {ties} LIMIT {size} OFFSET {(number - 1) * size}", values)
    pages = -(-total // size)
    if site.settings.hpos and not rows:
        total = pages = 0  # beyond the end HPOS has lost count (10.5, verified)
    counted = (("X-WP-Total", str(total)), ("X-WP-TotalPages", str(pages)))
    return Answer([show(row) for row in rows], headers=(*counted, *_link(site, asking, number, pages)))


def _where(site: Site, asking: Asking, kind: str, *, old: bool) -> tuple[str, list[Any]]:
    where = "kind = ?"
    values: list[Any] = [kind]
    if kind == "order":
        statuses = asking.some_of("status", _STATUSES) or ["any"]
        if "any" not in statuses:
            where += f" AND status IN ({', '.join('?' * len(statuses))})"
            values += statuses
        else:
            where += " AND status NOT IN ('trash', 'auto-draft')"
        if asking.text("customer"):
            where += " AND json_extract(body, '$.customer_id') = ?"
            values.append(asking.whole("customer", 0, 0, 2**63 - 1))
    if asking.text("code") and kind == "coupon":
        where += " AND name = ?"
        values.append(asking.text("code").lower())
    if kind == "coupon":
        where += " AND status <> 'trash'"
    for name, refs in (("include", "IN"), ("exclude", "NOT IN")):
        wanted = [one if one.isdecimal() else "0" for one in asking.several(name)]
        if wanted:
            where += f" AND id {refs} ({', '.join(wanted)})"
    return _dated(site, asking, where, values, old=old)


def _dated(site: Site, asking: Asking, where: str, values: list[Any], *, old: bool) -> tuple[str, list[Any]]:
    """`after` and `before` are exclusive, to the second."""
    gmt = asking.truth("dates_are_gmt") and not old
    for name, column, sign in _FILTERS:
        time = None if old and name in _NEW else asking.time(name)
        if time is not None:
            where += f" AND {column} {sign} ?"
            values.append(written(as_utc(time, site.settings.zone(), gmt=gmt)))
    return where, values


def _matches(thing: Thing, search: str) -> bool:
    """A substring of what is about a person or an article, or exactly the id. The order number is not searched (10.5, verified)."""
    if "billing" not in thing:
        return search in str(thing.get("code") or thing.get("name", "")).lower()
    addresses = [" ".join(map(str, thing[kind].values())) for kind in ("billing", "shipping")]  # one index each: "Ann Test" is found
    texts = [*addresses, thing["transaction_id"], *(line["name"] for line in thing["line_items"])]
    return str(thing["id"]) == search or any(search in str(text).lower() for text in texts)


def _link(site: Site, asking: Asking, number: int, pages: int) -> tuple[tuple[str, str], ...]:
    given = {name: value for name, value in parse_qsl(asking.raw, keep_blank_values=True) if name != "page"}
    base = {**given, **({} if "dp" in given else {"dp": str(site.settings.decimals)})}

    def to(place: int, rel: str) -> str:
        return f'<{site.url}/wp-json/wc/v3/{asking.path}?{urlencode({**base, "page": place}, safe=":,@")}>; rel="{rel}"'

    found = [to(min(number - 1, pages), "prev")] if number > 1 else []
    found += [to(number + 1, "next")] if pages > number else []
    return (("Link", ", ".join(found)),) if found else ()
