"""Read orders of one shop again and write them down: read by halves, written one by one, where one of them holds up the others (F39).

ask the shop, outside any transaction -> write down at most fifty at a time
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeAlias, TypeVar

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Malformed, Overdue, PlatformError, Revoked, Store, Throttled
from connector.secrets import Unreadable
from connector.services import mirroring
from connector.services.shops import ShopKeys
from jobs.site import Site

T = TypeVar("T")
Also: TypeAlias = Callable[[Session, Sequence[Order], int], None]

BATCH: Final = 50  # orders of one transaction
_FAILURES: Final = 16  # of one run: past that it is the shop that fails, not an order
_HALVED: Final = timedelta(seconds=30)  # after the first of them: then no other read begins
# What reading somebody's bytes can end in, if the adapter's own care was not enough: the trouble of one hint or order, and of no other.
SENSELESS: Final = (Malformed, Unreadable, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_UNFIT: Final = (DataError, IntegrityError, *SENSELESS)

log = logging.getLogger(__name__)


def _nothing(session: Session, orders: Sequence[Order], new: int) -> None:
    del session, orders, new


@dataclass(slots=True)
class Reading:
    """One run at one shop. `failed`: the orders that nobody could read or keep, each of which was tried alone."""

    site: Site
    keys: ShopKeys
    store: Store
    failed: set[OrderRef] = field(default_factory=set)
    _failures: int = 0
    _until: timedelta = timedelta.max

    def again(self, refs: Sequence[OrderRef]) -> Iterator[Sequence[OrderRef]]:
        """Read these orders in one go and write them down; gives those that are done with, as they are. Which are gone is kept, too.

        Once too much has failed, or for too long, nobody is asked any more, and what is left is neither given nor failed.

        Raises: `Throttled`, `Revoked`.
        """
        if self._failures >= _FAILURES or self.site.stopwatch() > self._until:
            return
        with self.site.db.reading() as session:
            began = self.site.db.now(session)
        try:
            found = {order.ref: order for order in self.store.orders(refs)}
        except (PlatformError, *SENSELESS) as trouble:
            takes_less = isinstance(trouble, Overdue) and len(refs) > 1
            if isinstance(trouble, (Throttled, Revoked)) and not takes_less:
                raise
            log.warning("orders.unread", extra={"shop": self.keys.id.hex, "count": len(refs), "error": type(trouble).__name__})
            self._failures += 1
            self._until = min(self._until, self.site.stopwatch() + _HALVED)
            if len(refs) == 1:
                self.failed |= set(refs)
                return
        else:
            yield from self._kept(refs, found, began)
            return
        yield from self.again(refs[: len(refs) // 2])
        yield from self.again(refs[len(refs) // 2 :])

    def write(self, orders: Sequence[Order], *, began: datetime, also: Also = _nothing) -> None:
        """Keep at most `BATCH` orders, in one transaction if the database takes them all. `began`: when the read of them did.

        `also` is told, in the same transaction, which these are and how many were never read before.
        """
        vault = self.site.need_vault()

        def keep(session: Session, some: Sequence[Order]) -> None:
            new = mirroring.apply_all(session, self.keys, some, read_began=began, vault=vault, now=self.site.db.now(session))
            also(session, some, new)

        self._all_or_each(orders, keep, lambda order: order.ref)

    def _kept(self, refs: Sequence[OrderRef], found: dict[OrderRef, Order], began: datetime) -> Iterator[Sequence[OrderRef]]:
        for some in batches(sorted(refs), BATCH):
            self.write([found[ref] for ref in some if ref in found], began=began)
            # A transaction of its own: whoever locks several orders locks them in the order of their references.
            self._all_or_each([ref for ref in some if ref not in found], self._forget, lambda ref: ref)
            yield [ref for ref in some if ref not in self.failed]

    def _forget(self, session: Session, lost: Sequence[OrderRef]) -> None:
        for ref in lost:
            mirroring.gone(session, self.keys, ref, now=self.site.db.now(session))

    def _all_or_each(self, items: Sequence[T], do: Callable[[Session, Sequence[T]], None], name: Callable[[T], OrderRef]) -> None:
        """What the database or our own rules cannot take is found by trying each alone."""
        if not items:
            return
        try:
            with self.site.db.transaction() as session:
                do(session, items)
        except _UNFIT as trouble:
            if len(items) == 1:
                extra = {"shop": self.keys.id.hex, "order": name(items[0]), "error": type(trouble).__name__}
                log.error("order.unfit", extra=extra)  # noqa: TRY400 - may hold rows
                self.failed.add(name(items[0]))
                return
        else:
            return
        for item in items:
            self._all_or_each([item], do, name)


def batches(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items as they come, so many at a time."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
