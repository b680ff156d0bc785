"""Keep a shop current and in order: poll what deliveries lost, probe it, import its history, forget its persons when it has left.

    read what is to be done -> ask the shop, outside any transaction -> write down at most fifty orders at a time

Every function may run twice at the same time and die at any line: an order that is read again changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from connector.domain.connecting import NotConnectable
from connector.domain.orders import Order
from connector.domain.platform import Overdue, PlatformError, Reached, Store, Unread, WebhookHealth
from connector.services import privacy, shops, syncing
from connector.services.outbox import Later
from connector.services.syncing import TIE, Overtaken, Polling
from jobs.reading import BATCH, Reading, batches
from jobs.site import Site

log = logging.getLogger(__name__)

_AT_A_STRETCH: Final = 500  # orders of one run, so that a shop with much to tell takes turns with the others
_LONGEST: Final = timedelta(minutes=2)  # of one run, after which it begins nothing more: the drain takes what is slower for hung
_BREATH: Final = timedelta(seconds=30)  # between two runs at a shop so slow that one is not enough
_STILL: Final = timedelta(minutes=10)  # after one that came to nothing
_NEXT_PAGE: Final = timedelta(seconds=1)


def poll(site: Site, shop_id: uuid.UUID) -> None:
    """Read what changed since the last poll, look after the deliveries, and read again what nobody would tell of.

    Raises:
        Later: there is more, and the next run begins where this one stopped.
        Throttled, Revoked: as the store raises them; what was written down before stays.
    """
    started = site.stopwatch()
    with site.db.reading() as session:
        begun = syncing.to_poll(session, shop_id, now=site.db.now(session))
    if begun is None:
        return
    store = site.store(begun.shop)
    try:
        read, newest = _read_changes(Reading(site, begun.shop, store), begun)
        health = _deliveries(site, store, read)
        with site.db.transaction() as session:
            syncing.polled(session, read, newest, health, now=site.db.now(session))
    except Overtaken:
        log.info("poll.overtaken", extra={"shop": shop_id.hex})
        return
    if site.stopwatch() - started <= _LONGEST:  # else at one of the next
        _read_again(Reading(site, begun.shop, store))


@dataclass(slots=True)
class _Sweep:
    """What a store tells of its changes; whether its time was over before it came to an end."""

    told: Iterator[Order | Unread | Reached]
    is_cut: bool = False

    def __iter__(self) -> Iterator[Order | Unread | Reached]:
        try:
            yield from self.told
        except Overdue:
            self.is_cut = True


def _read_changes(reading: Reading, polling: Polling) -> tuple[Polling, datetime]:
    """Apply all that changed; the latest change seen.

    The oldest change comes first, so whatever lies before the latest so far is applied. An order whose refunds alone changed
    carries an older time and moves nothing, nor does one that nobody can read: it is asked for again until a later one was read.

    Raises:
        Later: there is more. Not soon, where the shop is so slow that nothing was reached: `polled_at` shows that it stands still.
    """
    site, newest = reading.site, polling.since
    started, count = site.stopwatch(), 0
    sweep = _Sweep(reading.store.orders_changed(polling.since))
    for batch in batches(sweep, BATCH):
        found = [each for each in batch if isinstance(each, Order)]
        times = [each.at if isinstance(each, Reached) else each.changed_at for each in batch if not isinstance(each, Unread)]
        newest = max([newest, *(at for at in times if at is not None)])
        reading.write(found, began=polling.began)
        _tell(reading, [each for each in batch if isinstance(each, Unread)])
        if newest > polling.since:
            with site.db.transaction() as session:
                polling = syncing.read_on(session, polling, newest)
        count += len(batch)
        goes_on = newest - TIE > polling.since  # else the next run would read the same once more
        if (goes_on and count >= _AT_A_STRETCH) or site.stopwatch() - started > _LONGEST:
            raise Later(timedelta(0), "poll.goes_on")
    if sweep.is_cut and newest - TIE > polling.since:
        raise Later(_BREATH, "poll.goes_on")
    if sweep.is_cut:
        log.error("poll.stands_still", extra={"shop": reading.keys.id.hex})
        raise Later(_STILL, "poll.stands_still")
    return polling, newest


def _deliveries(site: Site, store: Store, polling: Polling) -> WebhookHealth | None:
    """What became of the deliveries, asked at most once in an hour.

    A shop that lets us read but not look after them is polled all the same, whatever it says: it has just answered our reads.
    """
    if not polling.check_deliveries or not site.base_url:
        return None
    try:
        return store.ensure_webhooks(site.base_url)
    except PlatformError as trouble:
        log.warning("deliveries.unmended", extra={"shop": polling.shop.id.hex, "error": type(trouble).__name__})
        return WebhookHealth(active=False)


def _read_again(reading: Reading) -> None:
    """Read some orders of open RMAs that were not read for a day. What nobody can read is put off for another."""
    site, shop = reading.site, reading.keys
    with site.db.reading() as session:
        began = site.db.now(session)
        refs = syncing.unread(session, shop.id, now=began, limit=BATCH)
    if refs:
        list(reading.again(refs))
    if reading.failed:
        with site.db.transaction() as session:
            syncing.put_off(session, shop.id, reading.failed, began=began)
        _tell(reading)


def _tell(reading: Reading, unread: Collection[Unread] = ()) -> None:
    """An alarm names what could not be read or kept since it was last told, if there is any."""
    refs = {each.ref for each in unread} | reading.failed
    for ref in refs:
        log.error("order.unreadable", extra={"shop": reading.keys.id.hex, "order": ref})
    if refs:
        with reading.site.db.transaction() as session:
            syncing.passed_over(session, reading.keys.id, refs, now=reading.site.db.now(session))
        reading.failed.clear()


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
        Later: there is another page, or this one takes too long.
        Throttled, Revoked: as the store raises them.
    """
    with site.db.reading() as session:
        page = syncing.to_import(session, shop_id, now=site.db.now(session))
    if page is None:
        return
    reading = Reading(site, page.shop, site.store(page.shop))
    try:
        found = reading.store.import_orders(page.cursor)
    except Overdue:
        log.error("import.stands_still", extra={"shop": shop_id.hex})  # noqa: TRY400 - no traceback is needed
        raise Later(_STILL, "import.stands_still") from None

    def brought(session: Session, orders: Sequence[Order], new: int) -> None:
        syncing.brought(session, page.shop.id, orders, new)

    for batch in batches(found.orders, BATCH):
        reading.write(batch, began=page.began, also=brought)
    _tell(reading, found.unread)
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
