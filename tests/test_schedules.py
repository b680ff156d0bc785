"""Some hundred random schedules in every run, on both databases; and the proof that the judge sees a broken procedure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from connector import migrate
from connector.db import Database
from connector.services import outbox, refunds
from jobs import money
from tests import schedules

PARTS = 4  # so that several processes share the work
EACH = 60
AT_WOOCOMMERCE = {"sqlite": 10, "postgresql": 4}  # over HTTP one takes half a second
AT_ONCE = range(5, 9)  # seeds that show it


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # every schedule breaks things on purpose
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules_on_sqlite(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = schedules.run(range(1 + part * EACH, 1 + (part + 1) * EACH))

    fine = schedules.report(verdicts)

    assert fine, capsys.readouterr().out
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{EACH} schedules: 0 paid twice, 0 lost, ")


@pytest.mark.parametrize("part", range(2))
def test_random_schedules_on_postgresql(part: int, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = schedules.run(range(1001 + part * EACH, 1001 + (part + 1) * EACH), postgres_url)

    fine = schedules.report(verdicts)

    assert fine, capsys.readouterr().out


def test_random_schedules_at_a_woocommerce_on_sqlite(capsys: pytest.CaptureFixture[str]) -> None:
    fine = schedules.report(schedules.run(range(1, 1 + AT_WOOCOMMERCE["sqlite"]), shop="woocommerce"))

    assert fine, capsys.readouterr().out


def test_random_schedules_at_a_woocommerce_on_postgresql(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fine = schedules.report(schedules.run(range(101, 101 + AT_WOOCOMMERCE["postgresql"]), postgres_url, shop="woocommerce"))

    assert fine, capsys.readouterr().out


def test_the_judge_sees_two_refunds_of_one_order_in_the_gateway_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage on purpose: neither the mark nor the database keeps a refund waiting while another of its order is under way."""
    monkeypatch.setattr(refunds, "_may_go_on", lambda *_args, **_more: None)
    database = Database(f"sqlite:///{tmp_path / 'retour.db'}")
    migrate.to(database)
    with database.engine.begin() as connection:
        connection.execute(text("DROP INDEX uq_refunds_one_sent"))
    database.dispose()

    said: list[str] = []
    assert not schedules.report(schedules.run(AT_ONCE, f"sqlite:///{tmp_path / 'retour.db'}", shop="woocommerce"), said.append)
    assert any("in the gateway at once" in line for line in said)


def test_the_judge_sees_a_procedure_that_takes_an_unknown_outcome_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage on purpose (`test_crash_points` has more of it): whatever went wrong counts as if nothing had happened."""
    send = money._send

    def careless(site, errand, seen, attempt):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        try:
            return send(site, errand, seen, attempt)
        except outbox.Later:
            money._unmark(site, seen, attempt)
            raise

    monkeypatch.setattr(money, "_send", careless)

    assert not schedules.report(schedules.run(range(1, 121)), lambda _line: None)
