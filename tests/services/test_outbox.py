"""The outbox: leases, fences, fairness (F41), bounded pauses (F12), F42, F54, F57, F58."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta

import pytest
from sqlalchemy import select

from connector.db import Database
from connector.models import Kind, OutboxRow, Shop, ShopStatus
from connector.services import outbox
from connector.services.outbox import Claimed
from tests.processes import together
from tests.services.acts import at_once, everything, opened, work
from tests.services.conftest import MakeWorld
from tests.world import START, Clock, World

ALL = ("settle", "mirror", "mail")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def put(world: World, *, times: int = 1, kind: Kind = Kind.MIRROR, delay: timedelta = timedelta(0)) -> list[uuid.UUID]:
    subjects = [uuid.uuid4() for _ in range(times)]
    with world.db.transaction() as session:
        for subject in subjects:
            outbox.put(session, kind, subject, shop=world.shop.id, now=world.clock.now, delay=delay)
    return subjects


def put_unknown(world: World, kind: str) -> uuid.UUID:
    """What a newer version of ours put there."""
    with world.db.transaction() as session:
        row = OutboxRow(shop_id=world.shop.id, kind=kind, subject_id=uuid.uuid4(), put_at=START, available_at=START)
        session.add(row)
    return row.id


def claim(world: World, limit: int = 10, kinds: Collection[str] = ALL) -> list[Claimed]:
    with world.db.transaction() as session:
        return list(outbox.claim(session, kinds=kinds, limit=limit, now=world.clock.now))


def due(world: World, kinds: Collection[str] = ALL) -> bool:
    with world.db.reading() as session:
        return outbox.anything_due(session, kinds=kinds, now=world.clock.now)


def only(world: World) -> OutboxRow:
    (row,) = work(world.db)
    return row


# ── Putting ──


def test_the_bell_rings_once_after_a_commit_that_put_something_and_never_for_what_was_taken_back(world: World, database_url: str) -> None:
    rung: list[int] = []
    database = Database(database_url, clock=lambda _session: START, ring=lambda: rung.append(len(work(world.db))))

    with database.transaction() as session:
        outbox.put(session, Kind.MIRROR, uuid.uuid4(), shop=world.shop.id, now=START)
        outbox.put(session, Kind.MIRROR, uuid.uuid4(), shop=world.shop.id, now=START)
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        outbox.put(session, Kind.MIRROR, uuid.UUID(int=1 // 0), shop=world.shop.id, now=START)
    with database.transaction() as session:
        outbox.claim(session, kinds=ALL, limit=1, now=START)
    database.dispose()

    assert rung == [2]


def test_what_is_put_for_later_starts_later(world: World) -> None:
    (subject,) = put(world, delay=MINUTE)

    world.clock.now = START + MINUTE - SECOND
    assert (due(world), claim(world)) == (False, [])
    world.clock.now = START + MINUTE
    assert (due(world), [row.subject_id for row in claim(world)]) == (True, [subject])


# ── Leases and fences ──


def test_a_claimed_row_is_nobody_elses_until_its_lease_runs_out(world: World) -> None:
    put(world)
    (first,) = claim(world)

    world.clock.now = START + outbox.LEASE
    assert (due(world), claim(world)) == (False, [])
    world.clock.advance(timedelta(microseconds=1))
    (second,) = claim(world)

    assert (second.id, second.fence) == (first.id, first.fence + 1)


def test_f42_a_clock_that_steps_back_frees_no_lease(world: World) -> None:
    put(world)
    claim(world)

    world.clock.now = START - timedelta(minutes=10)

    assert claim(world) == []


def test_a_heartbeat_keeps_the_leases_of_what_is_in_hand_and_of_nothing_else(world: World) -> None:
    put(world, times=3)
    first, second, third = claim(world)
    with world.db.transaction() as session:
        outbox.done(session, third, now=START)

    world.clock.now = START + outbox.LEASE - SECOND
    with world.db.transaction() as session:
        outbox.renew(session, [first, third], now=world.clock.now)
        outbox.renew(session, [], now=world.clock.now)
    world.clock.now = START + outbox.LEASE + SECOND

    assert [row.id for row in claim(world)] == [second.id]


def test_a_heartbeat_that_comes_late_does_not_hold_back_a_row_that_was_put_off(world: World) -> None:
    """Its handler had just said "in a second" when the heart beat for it once more."""
    put(world)
    (row,) = claim(world)
    with world.db.transaction() as session:
        outbox.later(session, row, at=START + SECOND)

    with world.db.transaction() as session:
        outbox.renew(session, [row], now=START)
    world.clock.now = START + SECOND

    assert [again.id for again in claim(world)] == [row.id]


@pytest.mark.parametrize("say", ["done", "later", "failed", "park"])
def test_f57_who_slept_through_its_lease_changes_nothing(world: World, say: str) -> None:
    put(world)
    (old,) = claim(world)
    world.clock.advance(outbox.LEASE + SECOND)
    (new,) = claim(world)
    before = everything(world.db)

    with world.db.transaction() as session:
        acts: dict[str, Callable[[], bool]] = {
            "done": lambda: outbox.done(session, old, now=world.clock.now),
            "later": lambda: outbox.later(session, old, at=world.clock.now),
            "failed": lambda: outbox.later(session, old, at=world.clock.now, failed=True),
            "park": lambda: outbox.park(session, old, why="tired", now=world.clock.now),
        }
        said = acts[say]()
        outbox.renew(session, [old], now=world.clock.now + MINUTE)

    assert not said
    assert everything(world.db) == before
    with world.db.transaction() as session:
        assert outbox.done(session, new, now=world.clock.now)


def test_what_is_done_stays_done(world: World) -> None:
    put(world)
    (row,) = claim(world)

    with world.db.transaction() as session:
        assert outbox.done(session, row, now=START)
        assert not outbox.done(session, row, now=START)
        assert not outbox.park(session, row, why="late", now=START)

    world.clock.advance(MINUTE)
    assert (due(world), claim(world)) == (False, [])


def test_only_a_failure_counts_as_an_attempt(world: World) -> None:
    put(world)
    for failed in (False, True, False, True):
        (row,) = claim(world)
        with world.db.transaction() as session:
            assert outbox.later(session, row, at=world.clock.now, failed=failed)

    assert (only(world).attempts, only(world).leased_until) == (2, None)


# ── Parked ──


def test_a_parked_row_says_why_and_waits_for_a_person(world: World) -> None:
    put(world)
    (row,) = claim(world)
    with world.db.transaction() as session:
        outbox.later(session, row, at=START, failed=True)
    (row,) = claim(world)
    with world.db.transaction() as session:
        assert outbox.park(session, row, why="outcome_unknown", now=START)

    world.clock.advance(timedelta(days=400))
    assert (claim(world), due(world)) == ([], False)
    assert (only(world).parked_because, only(world).parked_at) == ("outcome_unknown", START)

    with world.db.transaction() as session:
        assert outbox.retry(session, row.id, now=world.clock.now)
        assert not outbox.retry(session, row.id, now=world.clock.now)
    (again,) = claim(world)
    assert (again.id, again.attempts, only(world).parked_because) == (row.id, 0, None)


def test_a_retry_by_a_person_rings_the_bell(world: World, database_url: str) -> None:
    put(world)
    (row,) = claim(world)
    with world.db.transaction() as session:
        outbox.park(session, row, why="because", now=START)
    rung: list[bool] = []
    database = Database(database_url, clock=lambda _session: START, ring=lambda: rung.append(True))

    with database.transaction() as session:
        outbox.retry(session, uuid.uuid4(), now=START)
    with database.transaction() as session:
        outbox.retry(session, row.id, now=START)
    database.dispose()

    assert rung == [True]


def test_who_held_a_row_before_a_person_retried_it_has_nothing_to_say(world: World) -> None:
    put(world)
    (row,) = claim(world)
    with world.db.transaction() as session:
        outbox.park(session, row, why="because", now=START)
        outbox.retry(session, row.id, now=START)
    claim(world)

    with world.db.transaction() as session:
        assert not outbox.done(session, row, now=START)


# ── Turns ──


def test_f41_a_shop_with_one_row_is_in_the_first_claim_beside_one_with_five_hundred(make_world: MakeWorld, clock: Clock) -> None:
    flood, other = make_world(), make_world()
    put(flood, times=500)
    clock.advance(MINUTE)
    (one,) = put(other)

    first = claim(flood, 2)
    assert one in [row.subject_id for row in first]
    assert Counter(row.shop_id for row in claim(flood, 10)) == {flood.shop.id: 10}


def test_turns_are_taken_between_all_shops(make_world: MakeWorld) -> None:
    worlds = [make_world() for _ in range(4)]
    for world, times in zip(worlds, (9, 5, 2, 1), strict=True):
        put(world, times=times)

    claimed = Counter(row.shop_id for row in claim(worlds[0], 9))

    assert [claimed[world.shop.id] for world in worlds] == [3, 3, 2, 1]


def test_within_a_shop_the_oldest_goes_first(world: World) -> None:
    expected = []
    for _ in range(5):
        expected += put(world)
        world.clock.advance(SECOND)

    assert [row.subject_id for _ in range(5) for row in claim(world, 1)] == expected


# ── Several claimers ──


def test_f58_two_claims_that_are_both_open_never_hold_the_same_row(world: World) -> None:
    if world.db.dialect == "sqlite":  # writers take turns: the second begins when the first has ended
        put(world, times=10)
        outcome = at_once(*[lambda: claim(world, 5)] * 2)
        rows = [row.id for each in outcome if isinstance(each, list) for row in each]
        assert len(rows) == len(set(rows)) == 10
        return
    put(world, times=10)
    with world.db.transaction() as one, world.db.transaction() as other:
        first = outbox.claim(one, kinds=ALL, limit=6, now=START)
        second = outbox.claim(other, kinds=ALL, limit=10, now=START)

    assert len(first) == 6
    assert not {row.id for row in first} & {row.id for row in second}


def claim_all_in_a_process(meet: Callable[[], object], url: str) -> list[str]:
    database, found = opened(url), []
    meet()
    empty = 0
    while empty < 3:
        with database.transaction() as session:
            rows = outbox.claim(session, kinds=ALL, limit=3, now=START)
        found += [row.id.hex for row in rows]
        empty = 0 if rows else empty + 1
    database.dispose()
    return found


def test_f58_two_processes_never_claim_the_same_row_and_leave_none(world: World, make_world: MakeWorld, database_url: str) -> None:
    put(world, times=60)
    put(make_world(), times=30)

    claimed = [row for each in together(claim_all_in_a_process, [(database_url,)] * 3) for row in each]

    assert len(claimed) == len(set(claimed)) == 90


# ── Who may be called ──


@pytest.mark.parametrize("status", [ShopStatus.REVOKED, ShopStatus.UNINSTALLED])
def test_i4_rows_that_call_a_platform_wait_while_the_shop_is_not_connected(world: World, make_world: MakeWorld, status: ShopStatus) -> None:
    put(world, kind=Kind.SETTLE)
    put(world, kind=Kind.MIRROR)
    letter = put_unknown(world, "mail")  # goes to no platform
    other = make_world()
    put(other, kind=Kind.SETTLE)
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).status = status

    claimed = claim(world)

    assert {row.kind for row in claimed if row.shop_id == world.shop.id} == {"mail"}
    assert letter in {row.id for row in claimed}
    assert [row.kind for row in claimed if row.shop_id == other.shop.id] == ["settle"]
    assert not due(world)


def test_a_paused_shop_is_left_in_peace_until_its_pause_ends(world: World) -> None:
    put(world)
    with world.db.transaction() as session:
        outbox.pause(session, world.shop.id, wait=MINUTE, now=START)

    world.clock.now = START + MINUTE - SECOND
    assert (claim(world), due(world)) == ([], False)
    world.clock.now = START + MINUTE
    assert due(world)
    assert len(claim(world)) == 1


@pytest.mark.parametrize(
    ("wait", "bounded"),
    [
        (timedelta(seconds=-5), SECOND),
        (timedelta(0), SECOND),
        (timedelta(seconds=30), timedelta(seconds=30)),
        (timedelta(days=3650), timedelta(minutes=15)),
        (timedelta.max, timedelta(minutes=15)),
        (timedelta.min, SECOND),
    ],
)
def test_f12_however_long_a_shop_says_the_pause_is_bounded(world: World, wait: timedelta, bounded: timedelta) -> None:
    with world.db.transaction() as session:
        outbox.pause(session, world.shop.id, wait=wait, now=START)

    with world.db.reading() as session:
        assert session.get_one(Shop, world.shop.id).paused_until == START + bounded


def test_kinds_that_this_version_does_not_know_are_left_to_a_newer_one(world: World) -> None:
    put_unknown(world, "teleport")
    before = everything(world.db)

    assert (due(world), claim(world)) == (False, [])
    assert everything(world.db) == before


@pytest.mark.parametrize(("kinds", "limit"), [((), 5), (ALL, 0), (ALL, -1)])
def test_who_wants_nothing_gets_nothing(world: World, kinds: Collection[str], limit: int) -> None:
    put(world)

    assert claim(world, limit, kinds) == []


# ── Forgetting ──


def test_finished_rows_are_forgotten_a_hundred_at_a_time_and_only_those(world: World) -> None:
    put(world, times=130)
    finished = claim(world, 120)
    with world.db.transaction() as session:
        for row in finished[:115]:
            outbox.done(session, row, now=START)
        outbox.park(session, finished[115], why="because", now=START)
        for row in finished[116:]:
            outbox.done(session, row, now=START + MINUTE)

    def forget() -> int:
        with world.db.transaction() as session:
            return outbox.forget(session, before=START + SECOND)

    assert [forget(), forget(), forget()] == [100, 15, 0]
    with world.db.reading() as session:
        left = session.execute(select(OutboxRow.done_at)).scalars().all()
    assert len(left) == 15
    assert set(left) == {None, START + MINUTE}
