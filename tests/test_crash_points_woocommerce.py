"""Every step of the money procedure at a simulated WooCommerce: die there, sleep there, lose the database there, race there.

The steps are those of the worker and those of the shop: the worker may die or sleep while the shop is at any of its own. Without our
plugin a refund that may have left is a person's to look for, and is never sent again. The gateway's ledger judges. F03, F07-F12, F15,
F25-F28 and the faults of `test_crash_points.py`.

    python -m tests.test_crash_points_woocommerce     every step with every fate and every trouble, on SQLite
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select

from adapters.simulators.woocommerce import STEPS, Fault, Kind
from connector import migrate
from connector.domain.connecting import CreditUse
from connector.domain.orders import OrderRef
from connector.domain.rma import MoneyState
from connector.domain.wanted import Payout
from connector.models import CreditUseRow
from connector.models import Kind as Work
from connector.services import refunds
from jobs import money
from tests.far_shops import TROUBLE, WooFar
from tests.machinery import Stepped
from tests.takeover import Bench
from tests.world import Clock

REFUND, CREDIT = Payout.ORIGINAL, Payout.STORE_CREDIT
FATES: Final = (
    "killed",
    "killed before the commit",
    "database gone",
    "database gone before the commit",
    "asleep 5",
    "asleep 30",
    "asleep 300",
    "asleep 1200",
)
FIRST: Final = 15  # the step at which a worker has the row in hand
THINNED: Final = {"sqlite": 21, "postgresql": 63}  # an ordinary run plays one in so many; run as a command, this file plays all


@pytest.fixture
def db(database_url: str) -> Iterator[Stepped]:
    """The real database, with steps."""
    logging.disable(logging.CRITICAL)
    with opened(database_url) as database:
        yield database
    logging.disable(logging.NOTSET)


@contextmanager
def opened(url: str) -> Iterator[Stepped]:
    """A database at the newest version."""
    database = Stepped(url, Clock())
    migrate.to(database)
    yield database
    database.dispose()


@contextmanager
def bench(db: Stepped, payout: Payout, *trouble: tuple[str, Fault]) -> Iterator[Bench[WooFar]]:
    """A fresh shop with one return to pay, in the same database."""
    far = WooFar(lambda: db.test_clock.now)
    try:
        made = Bench(db, far, payout)
        for where, fault in trouble:
            far.fails(where, fault)
        yield made
    finally:
        far.close()


def few(db: Stepped) -> int:
    """One in how many is played."""
    return THINNED[db.engine.dialect.name]


def steps_of(db: Stepped, payout: Payout, *trouble: tuple[str, Fault]) -> Sequence[int]:
    """The steps that the first worker takes with the row in hand, where nobody dies."""
    with bench(db, payout, *trouble) as calm:
        steps = calm.play()
        calm.judge()
        assert trouble or not calm.parked
    return steps


def played(db: Stepped, payout: Payout, at: int, fate: str, *trouble: tuple[str, Fault]) -> Bench[WooFar]:
    """One run with this fate at this step, judged."""
    with bench(db, payout, *trouble) as troubled:
        troubled.play(at, fate)
        troubled.judge()
    return troubled


@pytest.mark.parametrize("payout", [REFUND, CREDIT])
def test_whatever_happens_at_any_step_money_moves_once(db: Stepped, payout: Payout) -> None:
    steps = steps_of(db, payout)
    assert len(steps) > 25

    for turn, fate in enumerate(FATES):
        for at in steps[turn * 4 % few(db) :: few(db)]:
            played(db, payout, at, fate)


@pytest.mark.parametrize("payout", [REFUND, CREDIT])
def test_whatever_the_shop_does_and_whoever_dies_on_top_of_it_money_moves_once(db: Stepped, payout: Payout) -> None:
    """F03, F07-F12, F26: it refuses, throws, lies, dies or goes on alone, at any of its steps; then the worker dies or sleeps as well."""
    for turn, (where, fault) in enumerate(troubles(payout)):
        if turn % few(db) == 1:
            played(db, payout, FIRST + turn * 5 % 26, FATES[turn % len(FATES)], (where, fault))


def troubles(payout: Payout) -> Sequence[tuple[str, Fault]]:
    """Everything that the shop can do to a payout, and where."""
    mine = ["GET order", "GET refunds", "POST refunds", *(["gateway"] if payout is REFUND else ["GET coupons", "POST coupons"])]
    steps = [step for step in STEPS if payout is REFUND or "gateway" not in step]
    found = [(where, fault) for where in mine for fault in TROUBLE[where]]
    return found + [(step, fault) for step in steps for fault in TROUBLE["a step"]]


def test_f57_a_worker_that_wakes_after_a_person_has_answered_does_not_pay(db: Stepped) -> None:
    for at in steps_of(db, REFUND)[: -1 : few(db) // 2]:
        with bench(db, REFUND) as slept:
            slept.sleep_through_an_answer(at)
            assert len(slept.far.moved()) == 1
            assert [row.state for row in slept.world.rows()].count(MoneyState.SETTLED) == 1


def test_f03_what_may_have_left_is_parked_with_the_gateways_words_and_never_sent_again(db: Stepped) -> None:
    with bench(db, REFUND, ("gateway", Fault(Kind.PAY_AND_REFUSE))) as lied:
        lied.play()

        (row,) = lied.world.rows()
        assert (row.state, row.parked_because, row.attempt) == (MoneyState.PARKED, "outcome_unknown", 1)
        assert "cURL error 28" in (row.words or "")
        assert lied.far.asked() == 1
        assert len(lied.far.moved()) == 1


def test_the_judge_sees_a_procedure_that_sends_what_may_have_left_again(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage on purpose: a check that cannot fail proves nothing."""
    monkeypatch.setattr(refunds.Unsettled, "may_have_left", property(lambda _row: False))

    assert fails(db, lambda one: one.play(), ("gateway", Fault(Kind.PAY_AND_REFUSE)))


def test_the_judge_sees_a_procedure_that_sends_late(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: neither the database nor the stopwatch keeps a worker that slept from sending."""
    at = steps_of(db, REFUND)[11]
    monkeypatch.setattr(refunds, "still_mine", lambda *_args, **_more: True)
    monkeypatch.setattr(money, "WINDOW", timedelta(days=1))

    assert fails(db, lambda one: one.sleep_through_an_answer(at))


def fails(db: Stepped, play: Callable[[Bench[WooFar]], object], *trouble: tuple[str, Fault]) -> bool:
    """Whether the ledger shows two payments, or two at once."""
    with bench(db, REFUND, *trouble) as one:
        play(one)
        return len(one.far.moved()) > 1


# ── The rest of a used code ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def spent(db: Stepped, *trouble: tuple[str, Fault]) -> Iterator[tuple[Bench[WooFar], OrderRef]]:
    """A code for 10.00 of which 4.00 were spent; the order has been read."""
    with bench(db, CREDIT) as one:
        one.play()
        one.judge()
        (code,) = one.far.shop.coupons()
        ref = one.far.spend(code["code"], "4.00")
        one.read(ref)
        for where, fault in trouble:
            one.far.fails(where, fault)
        yield one, ref


def uses(one: Bench[WooFar]) -> list[CreditUse | None]:
    """What is written down of each use of a code."""
    with one.db.reading() as session:
        return list(session.execute(select(CreditUseRow.use).where(CreditUseRow.shop_id == one.world.shop.id)).scalars())


REISSUING: Final = [(where, fault) for where in ("GET coupons", "PUT coupon", "POST coupons", "GET order") for fault in TROUBLE[where]]


@pytest.mark.parametrize("cancelled", [False, True])
def test_m7_whoever_dies_while_the_rest_of_a_code_is_issued_again_no_cent_is_lost_or_doubled(db: Stepped, cancelled: bool) -> None:
    with spent(db) as (calm, _):
        steps = calm.play(of=Work.REISSUE)
        assert (uses(calm), calm.far.worth()) == ([CreditUse.REISSUED], (600, 400))
    for turn, at in enumerate(steps[:: few(db) // 3]):
        trouble = REISSUING[turn * 7 % len(REISSUING)]
        with spent(db, trouble) as (one, ref):
            one.play(at, FATES[turn % len(FATES)], of=Work.REISSUE)
            assert not one.broken, one.broken
            assert (uses(one), one.far.worth()) == ([CreditUse.REISSUED], (600, 400)), (at, trouble)
            if cancelled:
                one.clock.advance(timedelta(minutes=1))
                one.far.shop.cancel(int(ref))
                one.read(ref)
                one.play()
                assert (uses(one), one.far.worth()) == ([CreditUse.REISSUED], (1000, 0)), (at, trouble)


# ── All of it ───────────────────────────────────────────────────────────────────────────────────────────────────────


def every() -> Iterator[tuple[Payout, Sequence[tuple[str, Fault]]]]:
    """Each payout in peace, and with each trouble."""
    for payout in (REFUND, CREDIT):
        yield payout, ()
        yield from ((payout, (trouble,)) for trouble in troubles(payout))


def main(every_nth: int, say: Callable[[str], object] = print) -> int:
    """Play every nth step with every fate and every trouble. Exit code 1 where one failed."""
    logging.disable(logging.CRITICAL)
    played_, parked, failed = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="retour-crash-points-", dir="/dev/shm") as folder, opened(f"sqlite:///{folder}/s.db") as db:
        for turn, (payout, trouble) in enumerate(every()):
            steps = steps_of(db, payout, *trouble)
            for fate in FATES:
                for at in steps[turn % every_nth :: every_nth]:
                    played_ += 1
                    try:
                        parked += len(played(db, payout, at, fate, *trouble).parked)
                    except Exception as error:  # noqa: BLE001 - said, and counted
                        failed += 1
                        say(f"{payout.value} {trouble}: {fate} at {at}: {error!r}")
    say(f"{played_} runs: {failed} failed, {parked} parked")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
