"""Budgets against guessing: A32, counted exactly on both databases."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from connector.db import Database
from connector.models import Budget
from connector.services import budgets
from connector.services.budgets import WINDOW, Allowance
from tests.services.acts import at_once
from tests.world import Clock

NUMBER, NETWORK = Allowance("number", 2), Allowance("network", 3)


def miss(database: Database, *allowances: Allowance) -> None:
    with database.transaction() as session:
        budgets.spend(session, allowances, now=database.now(session))


def gone(database: Database, *allowances: Allowance) -> bool:
    with database.reading() as session:
        return budgets.used_up(session, allowances, now=database.now(session))


def counted(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return {row.subject: row.spent for row in session.execute(select(Budget.subject, Budget.spent))}


def test_a_budget_is_gone_after_so_many_misses_and_back_in_the_next_window(database: Database, clock: Clock) -> None:
    miss(database, NUMBER, NETWORK)
    assert not gone(database, NUMBER, NETWORK)
    miss(database, NUMBER, NETWORK)

    assert gone(database, NUMBER)
    assert gone(database, NUMBER, NETWORK)
    assert not gone(database, NETWORK)
    clock.advance(WINDOW)
    assert not gone(database, NUMBER, NETWORK)


def test_a32_misses_at_the_same_instant_are_all_counted(database: Database) -> None:
    found = at_once(*[lambda: miss(database, NUMBER, NETWORK) for _ in range(12)])

    assert found == [None] * 12
    assert counted(database) == {"number": 12, "network": 12}


def test_counts_of_old_windows_are_forgotten(database: Database, clock: Clock) -> None:
    miss(database, NUMBER)
    clock.advance(timedelta(days=2))
    miss(database, NETWORK)

    with database.transaction() as session:
        assert budgets.forget(session, before=clock.now - budgets.KEPT) == 1
    assert counted(database) == {"network": 1}


def test_nothing_to_spend_is_nothing(database: Database) -> None:
    miss(database)

    assert counted(database) == {}
    assert not gone(database)
