"""Keep a shop current and in order: poll what deliveries lost, probe it, import its history, forget its persons when it has left.

    read what is to be done -> ask the shop, outside any transaction -> write down at most fifty orders at a time

Every function may run twice at the same time and die at any line: an order that is read again changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from connector.domain.connecting import NotConnectable
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import OutcomeUnknown, PlatformError, Rejected, Revoked, Store, Throttled, WebhookHealth
from connector.services import mirroring, privacy, shops, syncing
from connector.services.outbox import Later
from connector.services.shops import ShopKeys
from connector.services.syncing import TIE, Overtaken, Polling
from jobs.site import Site

log = logging.getLogger(__name__)

BATCH: Final = 50  # orders in one transaction
_AT_A_STRETCH: Final = 500  # orders of one run, so that a shop with much to tell takes turns with the others
_LONGEST: Final = timedelta(minutes=3)  # of one run: the drain takes what is slower for hung
_NEXT_PAGE: Final = timedelta(seconds=1)


def poll(site: Site, shop_id: uuid.UUID) -> None:
    """Read what changed since the last poll, look after the deliveries, and read again what nobody would tell of.

    Raises:
        Later: there is more, and the next run begins where this one stopped.
        Throttled, Revoked: as the store raises them; what was written down before stays.
    """
    with site.db.reading() as session:
        begun = syncing.to_poll(session, shop_id, now=site.db.now(session))
    if begun is None:
        return
    store = site.store(begun.shop)
    try:
        read, newest = _read_changes(site, store, begun)
        health = _deliveries(site, store, read)
        with site.db.transaction() as session:
            syncing.polled(session, read, newest, health, now=site.db.now(session))
    except Overtaken:
        log.info("poll.overtaken", extra={"shop": shop_id.hex})
        return
    _read_again(site, store, begun.shop)


def _read_changes(site: Site, store: Store, polling: Polling) -> tuple[Polling, datetime]:
    """Apply all that changed; the latest change seen.

    The oldest change comes first, so whatever lies before the latest so far is applied. An order whose refunds alone changed
    carries an older time and moves nothing.
    """
    newest = polling.since
    started, count = site.stopwatch(), 0
    for batch in _batches(store.orders_changed(polling.since)):
        newest = max([newest, *(order.changed_at for order in batch if order.changed_at is not None)])
        with site.db.transaction() as session:
            now = site.db.now(session)
            mirroring.apply_all(session, polling.shop, batch, read_began=polling.began, vault=site.need_vault(), now=now)
            if newest > polling.since:
                polling = syncing.read_on(session, polling, newest)
        count += len(batch)
        goes_on = newest - TIE > polling.since  # else the next run would read the same once more
        if (goes_on and count >= _AT_A_STRETCH) or site.stopwatch() - started > _LONGEST:
            raise Later(timedelta(0), "poll.goes_on")
    return polling, newest


def _deliveries(site: Site, store: Store, polling: Polling) -> WebhookHealth | None:
    """What became of the deliveries, asked at most once in an hour. A shop that lets us read but not mend them is polled all the same."""
    if not polling.check_deliveries or not site.base_url:
        return None
    try:
        return store.ensure_webhooks(site.base_url)
    except (Rejected, OutcomeUnknown) as trouble:
        log.warning("deliveries.unmended", extra={"shop": polling.shop.id.hex, "error": type(trouble).__name__})
        return WebhookHealth(active=False)


def _read_again(site: Site, store: Store, shop: ShopKeys) -> None:
    """Read some orders of open RMAs that were not read for a day."""
    with site.db.reading() as session:
        began = site.db.now(session)
        refs = syncing.unread(session, shop.id, now=began, limit=BATCH)
    if not refs:
        return
    found, unreadable = _read_some(store, refs)
    with site.db.transaction() as session:
        mirroring.apply_all(session, shop, found, read_began=began, vault=site.need_vault(), now=site.db.now(session))
    with site.db.transaction() as session:
        for ref in sorted(set(refs) - {order.ref for order in found} - set(unreadable)):
            mirroring.gone(session, shop, ref, now=site.db.now(session))
        syncing.put_off(session, shop.id, unreadable, began=began)
    for ref in unreadable:
        log.error("order.unreadable", extra={"shop": shop.id.hex, "order": ref})


def _read_some(store: Store, refs: Sequence[OrderRef]) -> tuple[Sequence[Order], Sequence[OrderRef]]:
    """These orders, and those that nobody can make sense of: where one holds up the others, it is found by halves.

    Raises: `Throttled`, `Revoked`.
    """
    try:
        return store.orders(refs), ()
    except (Throttled, Revoked):
        raise
    except PlatformError:
        if len(refs) == 1:
            return (), refs
    middle = len(refs) // 2
    (first, bad), (second, worse) = _read_some(store, refs[:middle]), _read_some(store, refs[middle:])
    return (*first, *second), (*bad, *worse)


def probe(site: Site, shop_id: uuid.UUID) -> None:
    """Ask the shop what it is and can do. What it cannot get past is written down with its reason; a shop that is well again, too."""
    with site.db.reading() as session:
        began, keys = site.db.now(session), shops.keys_of(session, shop_id)
    try:
        facts = site.open_store(keys).probe()
    except NotConnectable as trouble:
        log.warning("shop.unwell", extra={"shop": shop_id.hex, "why": trouble.why.value})
        with site.db.transaction() as session:
            syncing.unwell(session, shop_id, trouble.why, trouble.detail, began=began, now=site.db.now(session))
        return
    with site.db.transaction() as session:
        syncing.probed(session, shop_id, facts, began=began, now=site.db.now(session))


def import_history(site: Site, shop_id: uuid.UUID) -> None:
    """Read the next page of the shop's history. Its place is written down once all of its orders are.

    Raises:
        Later: there is another page.
    """
    with site.db.reading() as session:
        page = syncing.to_import(session, shop_id, now=site.db.now(session))
    if page is None:
        return
    found = site.store(page.shop).import_orders(page.cursor)
    for batch in _batches(found.orders):
        with site.db.transaction() as session:
            now = site.db.now(session)
            new = mirroring.apply_all(session, page.shop, batch, read_began=page.began, vault=site.need_vault(), now=now)
            syncing.brought(session, page.shop.id, batch, new)
    with site.db.transaction() as session:
        syncing.imported(session, page, found.cursor, now=site.db.now(session))
    if found.cursor is not None:
        raise Later(_NEXT_PAGE, "import.goes_on")


def redact(site: Site, shop_id: uuid.UUID) -> None:
    """Forget what an uninstalled shop left behind, some rows at a time."""
    more = True
    while more:
        with site.db.transaction() as session:
            more = privacy.redact(session, shop_id, now=site.db.now(session))


def _batches(orders: Iterable[Order]) -> Iterator[Sequence[Order]]:
    """The orders as they come, so many at a time."""
    rest = iter(orders)
    while batch := tuple(islice(rest, BATCH)):
        yield batch
