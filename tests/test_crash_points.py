"""Every step of the money procedure: die there, sleep there, lose the database there, race there. The shop's books judge.

A run without trouble counts the steps (before and after every transaction, around the check, the payment and the answer).
Then the same run is played once for each step and each fate, with a second worker that takes over. F01, F02, F04, F05, F06,
F08-F10, F16-F18, F20, F21, F42, F47, F49-F51, F54-F58.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from adapters.simulators.toy import Fault, Proof
from connector import migrate
from connector.domain.rma import MoneyState
from connector.domain.wanted import Payout
from connector.services import refunds
from jobs import money
from tests.far_shops import ToyFar
from tests.machinery import Stepped
from tests.takeover import Bench
from tests.world import Clock

FATES = ("killed", "killed before the commit", "database gone", "database gone before the commit", "asleep 5", "asleep 30", "asleep 300")
PAYOUTS = (Payout.ORIGINAL, Payout.STORE_CREDIT)


@pytest.fixture
def db(database_url: str) -> Iterator[Stepped]:
    """The real database, with steps."""
    logging.disable(logging.CRITICAL)
    database = Stepped(database_url, Clock())
    migrate.to(database)
    yield database
    database.dispose()
    logging.disable(logging.NOTSET)


def bench(
    db: Stepped, proof: Proof, payout: Payout, fault: Fault | None = None, skew: timedelta = timedelta(0), *, seconds: float = 9
) -> Bench[ToyFar]:
    """A fresh shop with one return to pay, in the same database."""
    far = ToyFar(proof, lambda: db.test_clock.now + skew)
    if fault is not None:
        far.toy.fail_next("refund" if payout is Payout.ORIGINAL else "credit", fault, seconds)
    return Bench(db, far, payout)


@pytest.mark.parametrize("payout", PAYOUTS)
@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("fate", FATES)
def test_whatever_happens_at_any_step_money_moves_once(db: Stepped, proof: Proof, payout: Payout, fate: str) -> None:
    calm = bench(db, proof, payout)
    steps = calm.play()
    calm.judge()
    assert len(steps) > 10
    assert not calm.parked

    for at in steps:
        troubled = bench(db, proof, payout)
        troubled.play(at, fate)
        troubled.judge()


@pytest.mark.parametrize("proof", list(Proof))
def test_f57_a_worker_that_wakes_after_a_person_has_answered_does_not_pay(db: Stepped, proof: Proof) -> None:
    steps = bench(db, proof, Payout.ORIGINAL).play()

    for at in steps[:-1]:
        slept = bench(db, proof, Payout.ORIGINAL)
        slept.sleep_through_an_answer(at)
        assert len(slept.far.moved()) == 1
        assert [row.state for row in slept.world.rows()].count(MoneyState.SETTLED) == 1


def test_the_judge_sees_a_procedure_that_never_looks(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage on purpose: a check that cannot fail proves nothing."""
    monkeypatch.setattr(refunds.Unsettled, "may_have_left", property(lambda _row: False))

    assert _somewhere_it_fails(db, lambda one, at: one.play(at, "killed"), Fault.LATE)


def test_the_judge_sees_a_procedure_that_sends_late(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: neither the database nor the stopwatch keeps a worker that slept from sending."""
    monkeypatch.setattr(refunds, "still_mine", lambda *_args, **_more: True)
    monkeypatch.setattr(money, "WINDOW", timedelta(days=1))

    assert _somewhere_it_fails(db, lambda one, at: one.sleep_through_an_answer(at))


def _somewhere_it_fails(db: Stepped, play: Callable[[Bench[ToyFar], int], object], fault: Fault | None = None) -> bool:
    """Whether the books show two payments for some step."""
    twice = False
    for at in bench(db, Proof.NONE, Payout.ORIGINAL).play()[:-1]:
        one = bench(db, Proof.NONE, Payout.ORIGINAL, fault, seconds=28)
        play(one, at)
        twice = twice or len(one.far.moved()) > 1
    return twice


@pytest.mark.parametrize("payout", PAYOUTS)
@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LATE, Fault.SLOW, Fault.LOSE_ANSWER])
def test_an_answer_that_never_comes_and_a_worker_that_dies_on_top_of_it(db: Stepped, proof: Proof, payout: Payout, fault: Fault) -> None:
    """F04, F05, F06, F10: the payment happened, did not happen, or happens after we gave up; then the worker dies somewhere."""
    steps = bench(db, proof, payout, fault).play()

    for at in steps[::2]:
        troubled = bench(db, proof, payout, fault)
        troubled.play(at, "killed")
        troubled.judge()


@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("minutes", [-10, 10])
def test_f42_a_shop_whose_clock_is_ten_minutes_off_pays_once(db: Stepped, proof: Proof, minutes: int) -> None:
    skewed = bench(db, proof, Payout.ORIGINAL, Fault.LOSE_ANSWER, timedelta(minutes=minutes))
    skewed.play(7, "asleep 30")

    skewed.judge()


def test_a_refused_payment_releases_its_reservation_wherever_the_worker_dies(db: Stepped) -> None:
    steps = bench(db, Proof.FENCE, Payout.ORIGINAL, Fault.REFUSE).play()

    for at in steps:
        troubled = bench(db, Proof.FENCE, Payout.ORIGINAL, Fault.REFUSE)
        troubled.play(at, "killed")
        (row,) = troubled.world.rows()
        paid = troubled.far.moved()
        assert (row.state, len(paid)) in {
            (MoneyState.REFUSED, 0),
            (MoneyState.SETTLED, 1),
        }  # killed before the no was recorded: asked again
