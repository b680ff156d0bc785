"""One order, two processes, 300 rounds: whoever holds the order's lock sees what the other reserved. F13, F16, F17.

In each round both ask for more than half of what was paid, through the real services, and exactly one may have it. The same
without the lock gives too much away, which proves that these tests could fail.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from connector import migrate
from connector.db import Busy, Database
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderRef, TenderRef, Worth
from connector.domain.platform import CreditOrder, RefundOrder, ReturnedLine, TenderPart
from connector.domain.rma import RmaState
from connector.domain.standing import Ours, misfit
from connector.models import MoneyKind, OrderRow, Refund, Resolution, Rma, Shop
from connector.services import orders, policies, refunds
from tests.processes import together
from tests.world import POLICY, START, an_order

ROUNDS: Final = 300
PAID: Final = 3600
WANTED: Final = 2400  # more than half: two of three units

Writing = Callable[[], AbstractContextManager[Session]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The newest version."""
    made = Database(database_url)
    migrate.to(made)
    yield made
    made.dispose()


@dataclass(frozen=True)
class Stage:
    """A shop, and for each round an order with two received returns, one for each process."""

    url: str
    shop: uuid.UUID
    rmas: tuple[tuple[uuid.UUID, uuid.UUID], ...]

    def order(self, round_: int) -> Order:
        """As the platform shows it, which knows of neither reservation yet."""
        return an_order(f"order-{round_}")


def staged(database: Database, rounds: int) -> Stage:
    shop, rmas = uuid.uuid4(), tuple((uuid.uuid4(), uuid.uuid4()) for _ in range(rounds))
    with database.transaction() as session:
        session.add(Shop(id=shop, platform="toy", domain="one.example", credentials=b"", installed_at=START))
        session.flush()
        policy = policies.publish(session, shop, POLICY, effective_from=START.date(), who="owner", now=START)
        session.add_all([OrderRow(shop_id=shop, ref=f"order-{n}") for n in range(rounds)])
        session.flush()
        for n, rma in ((n, rma) for n, both in enumerate(rmas) for rma in both):
            fixed = {"shop_id": shop, "policy_id": policy, "decision": b"{}", "requested_at": START, "state": RmaState.RECEIVED}
            session.add(Rma(id=rma, order_ref=f"order-{n}", number=rma.hex, form_token=rma.hex, **fixed))
    return Stage(database.url.render_as_string(hide_password=False), shop, rmas)


def race(meet: Callable[[], object], stage: Stage, me: int, linger: float, naive: bool) -> list[bool]:
    """One of two processes: in each round both begin at the same instant. Refunds and credits meet in every combination."""
    database = Database(stage.url, patience=30)
    writing: Writing = sessionmaker(create_engine(stage.url)).begin if naive else database.transaction
    won = []
    for n in range(len(stage.rmas)):
        kind = MoneyKind.REFUND if n >> me & 1 else MoneyKind.CREDIT
        meet()
        with writing() as session:
            if not naive:
                orders.lock(session, stage.shop, OrderRef(f"order-{n}"))
            won.append(reserve(session, stage, n, me, kind=kind, linger=linger))
    return won


def reserve(session: Session, stage: Stage, round_: int, me: int, *, kind: MoneyKind, linger: float) -> bool:
    """What the desk does, without its prices: see how the order stands, and reserve if it fits. False: it does not."""
    order, told = stage.order(round_), instruction(stage.order(round_), kind)
    row = Ours(told.amount.minor, 0, parts=told.parts if isinstance(told, RefundOrder) else (), lines=told.lines)
    if misfit(order, orders.ours(session, stage.shop, order.ref), row):
        return False
    time.sleep(linger)  # whoever does not wait for the other sees the same meanwhile
    resolution = Resolution(
        id=uuid.uuid4(),
        shop_id=stage.shop,
        rma_id=stage.rmas[round_][me],
        order_ref=order.ref,
        kind=kind,
        currency=order.currency,
        total=told.amount.minor,
        deducted=0,
        bonus=0,
        quote=b"{}",
        booked=b"{}",
        form_token=uuid.uuid4().hex,
        decided_by="sam",
        decided_at=START,
    )
    session.add(resolution)
    session.flush()
    rma = stage.rmas[round_][me]
    refunds.add(session, resolution, told, row_id=uuid.UUID(told.key), rma=rma, deducted=0, by_hand=False, now=START)
    return True


def instruction(order: Order, kind: MoneyKind) -> RefundOrder | CreditOrder:
    amount, key, lines = Money(WANTED, order.currency), uuid.uuid4().hex, (ReturnedLine(LineRef("line-1"), 2, Worth(WANTED)),)
    if kind is MoneyKind.REFUND:
        return RefundOrder(key, order.ref, "R", amount, (TenderPart(TenderRef("card"), WANTED),), lines)
    return CreditOrder(key, order.ref, "R", amount, Money(0, order.currency), lines)


def reserved(database: Database) -> Sequence[int]:
    """What is reserved on each order that has anything reserved, minor units."""
    with database.reading() as session:
        return session.execute(select(func.sum(Refund.minor)).group_by(Refund.order_ref)).scalars().all()


def test_f13_f16_f17_two_processes_never_reserve_more_than_was_paid(database: Database) -> None:
    stage = staged(database, ROUNDS)
    assert stage.order(0).total == PAID

    outcome = together(race, [(stage, 0, 0.0, False), (stage, 1, 0.0, False)])

    assert [first + second for first, second in zip(*outcome, strict=True)] == [1] * ROUNDS
    assert [int(minor) for minor in reserved(database)] == [WANTED] * ROUNDS
    assert all(0 < sum(won) < ROUNDS for won in outcome)  # it was a race: neither won them all


def test_without_the_lock_both_reserve_so_these_tests_can_fail(database: Database) -> None:
    """PostgreSQL with a transaction and no lock; SQLite with the BEGIN of its driver, which comes only with the first write."""
    stage = staged(database, 10)

    together(race, [(stage, 0, 0.05, True), (stage, 1, 0.05, True)])

    assert max(reserved(database)) == 2 * WANTED > PAID


def test_an_order_that_was_never_read_can_be_locked_and_counts_its_locks(database: Database) -> None:
    stage = staged(database, 1)

    with database.transaction() as session:
        versions = [orders.lock(session, stage.shop, OrderRef("new")) for _ in range(2)]
    with database.transaction() as session:
        versions.append(orders.lock(session, stage.shop, OrderRef("new")))
        fresh = session.get_one(OrderRow, (stage.shop, "new"))

    assert versions == [1, 2, 3]
    assert (fresh.lock_version, fresh.snapshot, fresh.read_began_at) == (3, None, None)


def test_a_locked_order_holds_up_who_wants_it_and_on_postgresql_nobody_else(database: Database) -> None:
    stage = staged(database, 2)
    hasty = Database(stage.url, patience=0.1)

    with database.transaction() as first:
        orders.lock(first, stage.shop, OrderRef("order-0"))
        with pytest.raises(Busy), hasty.transaction() as second:
            orders.lock(second, stage.shop, OrderRef("order-0"))
        if database.dialect == "postgresql":
            with hasty.transaction() as second:
                orders.lock(second, stage.shop, OrderRef("order-1"))
    with hasty.transaction() as second:
        assert orders.lock(second, stage.shop, OrderRef("order-0")) == 2

    hasty.dispose()


def test_a_lock_that_is_taken_back_was_never_taken(database: Database) -> None:
    stage = staged(database, 1)

    def give_up() -> None:
        with database.transaction() as session:
            orders.lock(session, stage.shop, OrderRef("order-0"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()

    with database.transaction() as session:
        assert orders.lock(session, stage.shop, OrderRef("order-0")) == 1
