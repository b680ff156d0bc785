"""What the tests of services and jobs do all the time: look at everything, race, and let a shop work."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import select

from connector.db import Database
from connector.domain.orders import Order, RefundRecord, RefundRef, Tender, TenderKind, TenderRef
from connector.domain.quote import Quote
from connector.domain.rma import RmaState
from connector.models import Base, Entry, EntryText, OutboxRow, Rma
from connector.services import desk
from connector.services.desk import Settlement
from tests.world import START, World

T = TypeVar("T")
PLAIN: Final = Settlement(expected=0, form_token="")


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table: what a refused act must leave as it was."""
    with database.reading() as session:
        return {
            name: sorted((dict(row) for row in session.execute(select(table)).mappings()), key=repr)
            for name, table in Base.metadata.tables.items()
        }


def told(database: Database, rma: uuid.UUID | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    """The timeline: what, who, and the facts."""
    query = select(Entry.what, Entry.who, EntryText.text).join(EntryText, EntryText.entry_id == Entry.id)
    if rma is not None:
        query = query.where(Entry.rma_id == rma)
    with database.reading() as session:
        return [(what, who, json.loads(text)) for what, who, text in session.execute(query.order_by(Entry.happened_at, Entry.id))]


def facts_of(database: Database, what: str) -> dict[str, Any]:
    """The facts of the only entry of this name."""
    (found,) = [facts for name, _, facts in told(database) if name == what]
    return found


def work(database: Database, kind: str | None = None) -> list[OutboxRow]:
    """The outbox, oldest first."""
    query = select(OutboxRow).order_by(OutboxRow.put_at, OutboxRow.id)
    with database.reading() as session:
        return list(session.execute(query if kind is None else query.where(OutboxRow.kind == kind)).scalars())


def at_once(*acts: Callable[[], T]) -> list[T | Exception]:
    """What each act gave or raised, all begun at the same instant in threads of their own."""
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], T]) -> T | Exception:
        gate.wait()
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - the test judges it
            return error

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


def kinds(found: Sequence[object]) -> Mapping[str, int]:
    """How many of each type."""
    names = [type(one).__name__ for one in found]
    return {name: names.count(name) for name in names}


def opened(url: str) -> Database:
    """The test's database as another process opens it, the clock where every test begins."""
    return Database(url, clock=lambda _session: START)


# ── A shop's daily work ──


def placed(world: World, order: Order) -> Order:
    """The order, now in the toy shop too."""
    world.toy.place(order)
    return order


def looking(world: World, rma: uuid.UUID, order: Order, choice: Settlement = PLAIN) -> Quote:
    """What staff see before they decide."""
    with world.db.reading() as session:
        return desk.preview(session, rma, order, choice)


def decide(
    world: World,
    rma: uuid.UUID,
    order: Order,
    expected: int,
    choice: Settlement = PLAIN,
    *,
    age: timedelta = timedelta(0),
    token: str = "",
) -> uuid.UUID:
    """Staff say yes to `expected`, having read the order `age` ago. Returns the resolution."""
    settlement, now = replace(choice, expected=expected, form_token=token or uuid.uuid4().hex), world.clock.now
    with world.db.transaction() as session:
        return desk.resolve(session, rma, order, settlement, read_began=now - age, vault=world.vault, who="sam", now=now).id


def state_of(world: World, rma: uuid.UUID) -> RmaState:
    """Where the case stands."""
    with world.db.reading() as session:
        return session.get_one(Rma, rma).state


def two_tenders(total: int) -> tuple[Tender, ...]:
    """A card, and a quarter in cash at the door; the cash came last, so it goes back first."""
    cash = total // 4
    return (
        Tender(TenderRef("card"), total - cash, kind=TenderKind.CARD),
        Tender(TenderRef("cash"), cash, kind=TenderKind.MANUAL, pays_back=False),
    )


def in_cash(total: int) -> tuple[Tender, ...]:
    """All of it in cash at the door."""
    return (Tender(TenderRef("cash"), total, kind=TenderKind.MANUAL, pays_back=False),)


def refunded_in_the_admin(order: Order, minor: int) -> Order:
    """The same order after somebody gave back an amount in the platform's own admin."""
    first, *others = order.tenders
    return replace(
        order,
        refunded=order.refunded + minor,
        refunds=(*order.refunds, RefundRecord(RefundRef("admin-1"), minor)),
        tenders=(replace(first, refunded=first.refunded + minor), *others),
    )
