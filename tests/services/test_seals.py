"""Seals: nothing in the timeline changes unseen, whoever seals and whoever dies at it, and erased texts leave the chain whole."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from itertools import count

import pytest
from sqlalchemy import delete, func, select, text

from connector.db import Busy, Database
from connector.models import Entry, EntryText, Seal, Shop, Unsealed
from connector.services import seals, timeline
from connector.services.seals import BATCH, Verdict
from tests.processes import Link, child, together
from tests.services.acts import everything
from tests.world import START

KEY = b"the key that seals"
_NAMES = count()


def a_shop(database: Database) -> uuid.UUID:
    shop = uuid.uuid4()
    with database.transaction() as session:
        session.add(Shop(id=shop, platform="toy", domain=f"{next(_NAMES)}.example", credentials=b"", installed_at=START))
    return shop


@pytest.fixture
def shop(database: Database) -> uuid.UUID:
    return a_shop(database)


def write(database: Database, shop: uuid.UUID, entries: int, *, first: int = 0, for_shopper: bool = False) -> None:
    """So many entries, a second apart."""
    with database.transaction() as session:
        for n in range(first, first + entries):
            at, facts = START + timedelta(seconds=n), {"note": f"Kim's note {n}"}
            timeline.record(session, f"entry.{n}", shop=shop, rma=None, who="sam", at=at, facts=facts, for_shopper=for_shopper)


def seal(database: Database, shop: uuid.UUID, key: bytes = KEY) -> int:
    with database.transaction() as session:
        return seals.seal(session, shop, key)


def verify(database: Database, shop: uuid.UUID, key: bytes = KEY) -> Verdict:
    with database.reading() as session:
        return seals.verify_one(session, shop, key)


def chain(database: Database, shop: uuid.UUID) -> list[tuple[int, str]]:
    """Positions and what is sealed there."""
    query = select(Seal.position, Entry.what).join(Entry, Entry.id == Seal.entry_id).where(Seal.shop_id == shop)
    with database.reading() as session:
        return [(position, what) for position, what in session.execute(query.order_by(Seal.position))]


# ── Sealing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_entries_are_sealed_in_the_order_in_which_they_happened(database: Database, shop: uuid.UUID) -> None:
    write(database, shop, 2, first=3)
    write(database, shop, 2, first=0)

    assert seal(database, shop) == 4
    write(database, shop, 1, first=2)  # later told than sealed: its seal comes last
    assert seal(database, shop) == 1

    assert chain(database, shop) == [(1, "entry.0"), (2, "entry.1"), (3, "entry.3"), (4, "entry.4"), (5, "entry.2")]
    verdict = verify(database, shop)
    assert (verdict.sealed, verdict.unsealed, verdict.erased, verdict.faults) == (5, 0, 0, ())
    with database.reading() as session:
        last = seals.last(session, shop)
    assert last is not None
    assert (last.position, last.hash.hex()) == (5, verdict.last)


def test_one_pass_seals_a_hundred_entries_and_the_next_goes_on(database: Database, shop: uuid.UUID) -> None:
    write(database, shop, 2 * BATCH + 50)

    assert [seal(database, shop) for _ in range(4)] == [100, 100, 50, 0]

    verdict = verify(database, shop)
    assert (verdict.sealed, verdict.unsealed, verdict.faults) == (250, 0, ())


def test_every_shop_has_a_chain_of_its_own(database: Database, shop: uuid.UUID) -> None:
    other, empty = a_shop(database), a_shop(database)
    write(database, shop, 3)
    write(database, other, 2)

    with database.reading() as session:
        assert list(seals.waiting(session)) == sorted([shop, other])
    assert (seal(database, shop), seal(database, other), seal(database, empty)) == (3, 2, 0)

    with database.reading() as session:
        assert list(seals.waiting(session)) == []
        verdicts = {verdict.shop: verdict for verdict in seals.verify(session, KEY)}
        domains = session.execute(select(Shop.domain).order_by(Shop.domain)).scalars().all()
    assert {each: verdicts[each].sealed for each in (shop, other, empty)} == {shop: 3, other: 2, empty: 0}
    assert [verdict.domain for verdict in verdicts.values()] == list(domains)
    assert not any(verdict.faults for verdict in verdicts.values())
    assert verdicts[shop].last != verdicts[other].last != verdicts[empty].last == ""


def test_the_same_facts_are_sealed_differently_under_another_key(database: Database, shop: uuid.UUID) -> None:
    other = a_shop(database)
    write(database, shop, 1)
    write(database, other, 1)

    seal(database, shop)
    seal(database, other, b"another key")

    assert verify(database, other, b"another key").faults == ()
    assert positions(verify(database, other)) == {1}


def test_what_waits_for_its_seal_is_counted_and_is_no_fault(database: Database, shop: uuid.UUID) -> None:
    write(database, shop, 2)
    seal(database, shop)
    write(database, shop, 3, first=2)

    verdict = verify(database, shop)

    assert (verdict.sealed, verdict.unsealed, verdict.faults) == (2, 3, ())


# ── Several sealers, and dead ones ──────────────────────────────────────────────────────────────────────────────────


def test_f58_two_sealers_at_once_make_one_chain_while_others_write(database: Database, database_url: str, shop: uuid.UUID) -> None:
    other = a_shop(database)
    write(database, shop, 150)
    write(database, other, 150)

    roles = [(database_url, role, [shop, other]) for role in ("seal", "seal", "write")]
    sealed = together(seal_or_write, roles)

    for each in (shop, other):
        while seal(database, each):
            pass
        verdict = verify(database, each)
        assert (verdict.sealed, verdict.unsealed, verdict.faults) == (250, 0, ())
        assert [position for position, _ in chain(database, each)] == list(range(1, 251))
    assert sealed[2] == 200
    assert sealed[0] + sealed[1] >= 300


def seal_or_write(meet: Callable[[], object], url: str, role: str, shops: list[uuid.UUID]) -> int:
    database, done = Database(url), 0
    meet()
    if role == "write":
        for n in range(100):
            for shop in shops:
                write(database, shop, 1, first=1000 + n)
                done += 1
        return done
    until = time.monotonic() + 30
    while time.monotonic() < until:
        done += sum(seal(database, shop) for shop in shops)
        with database.reading() as session:
            written = session.execute(select(func.count()).select_from(Entry)).scalar_one()
            if written >= 500 or done >= 500:
                break
    return done


def test_f58_a_sealer_that_is_killed_half_way_has_sealed_nothing(database: Database, database_url: str, shop: uuid.UUID) -> None:
    write(database, shop, 150)
    seal(database, shop)

    with child(seal_and_wait, database_url, shop) as process:
        assert process.hear() == 50
        os.kill(process.pid, signal.SIGKILL)
        process.kill()
    half_way = verify(database, shop)
    sealed = seal_soon(database, shop)

    assert (half_way.sealed, half_way.unsealed, half_way.faults) == (100, 50, ())
    assert sealed == 50
    assert verify(database, shop).faults == ()


def seal_and_wait(link: Link, url: str, shop: uuid.UUID) -> None:
    database = Database(url)
    with database.transaction() as session:
        link.say(seals.seal(session, shop, KEY))
        link.hear()


def seal_soon(database: Database, shop: uuid.UUID) -> int:
    """PostgreSQL takes a moment to notice that its client is gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if sealed := seal(database, shop):
                return sealed
        except Busy:
            continue
        time.sleep(0.01)
    return 0


def test_f58_sealers_that_are_killed_again_and_again_leave_one_whole_chain(database: Database, database_url: str, shop: uuid.UUID) -> None:
    write(database, shop, 500)

    for life in range(8):
        with child(seal_for_ever, database_url, shop) as process:
            process.hear()
            time.sleep(0.003 * life)
            process.kill()
        assert verify(database, shop).faults == ()
    while seal_soon(database, shop):
        if verify(database, shop).unsealed == 0:
            break

    verdict = verify(database, shop)
    assert (verdict.sealed, verdict.unsealed, verdict.faults) == (500, 0, ())


def seal_for_ever(link: Link, url: str, shop: uuid.UUID) -> None:
    database = Database(url)
    link.say("at it")
    while True:
        with database.transaction() as session:
            seals.seal(session, shop, KEY)
            time.sleep(0.001)


def test_on_postgresql_who_comes_second_seals_nothing_and_waits_for_nobody(database: Database, shop: uuid.UUID) -> None:
    if database.dialect == "sqlite":  # writers take turns there
        return
    write(database, shop, 5)

    with database.transaction() as first, database.transaction() as second:
        assert seals.seal(second, shop, KEY) == 5
        assert seals.seal(first, shop, KEY) == 0

    assert verify(database, shop).sealed == 5


# ── Erasure ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_erased_text_leaves_the_chain_whole_and_is_counted(database: Database, shop: uuid.UUID) -> None:
    write(database, shop, 5)
    seal(database, shop)
    before = verify(database, shop)

    with database.transaction() as session:
        erased = session.execute(select(Seal.entry_id).where(Seal.shop_id == shop, Seal.position.in_([2, 3]))).scalars().all()
        session.execute(delete(EntryText).where(EntryText.entry_id.in_(erased)))
    after = verify(database, shop)

    assert after == replace(before, erased=2)
    assert after.faults == ()
    with database.reading() as session:
        assert all("Kim's note 1" not in kept for kept in session.execute(select(EntryText.text)).scalars())


def test_a_text_that_is_erased_before_its_seal_is_sealed_all_the_same(database: Database, shop: uuid.UUID) -> None:
    write(database, shop, 2)
    with database.transaction() as session:
        session.execute(delete(EntryText))

    assert seal(database, shop) == 2
    assert verify(database, shop) == replace(verify(database, shop), sealed=2, erased=2, faults=())


# ── Tampering ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sealed(database: Database, shop: uuid.UUID) -> uuid.UUID:
    """A shop whose five entries are sealed."""
    write(database, shop, 5)
    seal(database, shop)
    assert verify(database, shop).faults == ()
    return shop


def positions(verdict: Verdict) -> set[int]:
    """Where the faults are said to be."""
    return {int(found[1]) for fault in verdict.faults if (found := re.match(r"position (\d+)", fault))}


MEANING = {
    ":third": "(SELECT entry_id FROM seals WHERE position = 3)",
    ":fourth": "(SELECT entry_id FROM seals WHERE position = 4)",
    ":cut": "(SELECT entry_id FROM seals WHERE position > 3)",
    ":nobody": "'00000000000000000000000000000000'",
}


def tamper(database: Database, *statements: str, **ids: uuid.UUID) -> None:
    """What somebody does who owns the database and lacks the key: triggers and references do not stop them."""
    is_postgres = database.dialect == "postgresql"
    words = MEANING | {f":{name}": f"'{one if is_postgres else one.hex}'" for name, one in ids.items()}
    meant = [reduce(lambda said, word: said.replace(word, words[word]), words, statement) for statement in statements]
    if is_postgres:
        with database.transaction() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in meant:
                session.execute(text(statement))
        return
    connection = sqlite3.connect(str(database.url.database), isolation_level=None)  # it checks no references
    triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for statement in [*(f"DROP TRIGGER {name}" for (name,) in triggers), *meant]:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statements", "where"),
    [
        (["UPDATE timeline SET who = 'kim' WHERE id = :third"], {3}),
        (["UPDATE timeline SET what = 'entry.7' WHERE id = :third"], {3}),
        (["UPDATE timeline SET happened_at = '2020-01-01 00:00:00.000000' WHERE id = :third"], {3}),
        (["UPDATE timeline SET happened_at = '2026-03-02 09:00:02.000001' WHERE id = :third"], {3}),
        (["UPDATE timeline SET for_shopper = NOT for_shopper WHERE id = :third"], {3}),
        (["UPDATE timeline SET rma_id = :nobody WHERE id = :third"], {3}),
        (["UPDATE timeline SET shop_id = :nobody WHERE id = :third"], {3}),
        (["UPDATE timeline SET commitment = (SELECT commitment FROM timeline WHERE id = :fourth) WHERE id = :third"], {3}),
        (["UPDATE seals SET hash = (SELECT hash FROM seals WHERE position = 4) WHERE position = 3"], {3, 4}),
        (["UPDATE timeline SET who = 'kim'"], {1, 2, 3, 4, 5}),
    ],
    ids=["who", "what", "when", "when, by a microsecond", "for whom", "which case", "which shop", "commitment", "hash", "all"],
)
def test_a_changed_entry_is_named_with_its_position(database: Database, sealed: uuid.UUID, statements: list[str], where: set[int]) -> None:
    tamper(database, *statements)

    verdict = verify(database, sealed)

    assert positions(verdict) == where
    assert any("was changed" in fault for fault in verdict.faults)


@pytest.mark.parametrize(
    ("statements", "where"),
    [
        (
            [
                "UPDATE seals SET position = -1 WHERE position = 3",
                "UPDATE seals SET position = 3 WHERE position = 4",
                "UPDATE seals SET position = 4 WHERE position = -1",
            ],
            {3, 4, 5},
        ),
        (["UPDATE seals SET position = 6 WHERE position = 3"], {3, 4, 6}),
        (["DELETE FROM seals WHERE position = 3"], {3, 4}),
        (["DELETE FROM timeline_texts WHERE entry_id = :third", "DELETE FROM timeline WHERE id = :third"], {3}),
        (
            [
                "DELETE FROM timeline_texts WHERE entry_id = :third",
                "DELETE FROM timeline WHERE id = :third",
                "DELETE FROM seals WHERE position = 3",
            ],
            {3, 4},
        ),
        (["DELETE FROM seals WHERE position = 1"], {1, 2}),
        (["DELETE FROM seals WHERE position = 3", "UPDATE seals SET position = position - 1 WHERE position > 3"], {3, 4}),
    ],
    ids=["swapped", "moved to the end", "seal cut out", "entry deleted", "both deleted", "beginning cut off", "gap closed"],
)
def test_a_chain_that_was_cut_or_put_together_anew_is_named_with_its_positions(
    database: Database, sealed: uuid.UUID, statements: list[str], where: set[int]
) -> None:
    tamper(database, *statements)

    assert positions(verify(database, sealed)) == where


def test_two_entries_whose_seals_were_exchanged_are_both_named(database: Database, sealed: uuid.UUID) -> None:
    with database.reading() as session:
        was = {found.position: found.entry_id for found in session.execute(select(Seal)).scalars()}

    tamper(
        database,
        "UPDATE seals SET entry_id = :nobody WHERE position = 3",
        "UPDATE seals SET entry_id = :old_third WHERE position = 4",
        "UPDATE seals SET entry_id = :old_fourth WHERE position = 3",
        old_third=was[3],
        old_fourth=was[4],
    )

    assert positions(verify(database, sealed)) == {3, 4}


@pytest.mark.parametrize("what", ["text", "salt", "both", "head of the text made salt", "end of the salt made text"])
def test_a_changed_text_or_salt_is_named_with_its_position(database: Database, sealed: uuid.UUID, what: str) -> None:
    with database.transaction() as session:
        entry = session.execute(select(Seal.entry_id).where(Seal.shop_id == sealed, Seal.position == 3)).scalar_one()
        row = session.get_one(EntryText, entry)
        match what:
            case "text":
                row.text = row.text.replace("Kim", "Tim")
            case "salt":
                row.salt = bytes(16)
            case "both":
                row.salt, row.text = bytes(16), "{}"
            case "head of the text made salt":
                row.salt, row.text = row.salt + row.text[:5].encode(), row.text[5:]
            case _:
                row.salt, row.text = b"salt", "{}"
    verdict = verify(database, sealed)

    assert verdict.faults == (f"position 3: the text of entry {entry} was changed",)
    assert verdict.erased == 0


def test_texts_that_changed_places_are_both_named(database: Database, sealed: uuid.UUID) -> None:
    with database.transaction() as session:
        query = select(EntryText).join(Seal, Seal.entry_id == EntryText.entry_id).where(Seal.position.in_([2, 5]))
        one, other = session.execute(query.order_by(Seal.position)).scalars().all()
        one.salt, one.text, other.salt, other.text = other.salt, other.text, one.salt, one.text

    assert positions(verify(database, sealed)) == {2, 5}


def test_an_entry_that_was_smuggled_in_without_a_seal_is_found(database: Database, sealed: uuid.UUID) -> None:
    write(database, sealed, 2, first=7)
    tamper(database, "DELETE FROM unsealed")

    assert verify(database, sealed).faults == ("2 entries are neither sealed nor waiting for their seal",)


def test_an_entry_that_was_smuggled_in_with_a_seal_of_its_own_is_named(database: Database, sealed: uuid.UUID) -> None:
    write(database, sealed, 1, first=7)
    seal(database, sealed, b"not the key")

    assert positions(verify(database, sealed)) == {6}


def test_seals_cut_off_the_end_leave_entries_that_nobody_vouches_for(database: Database, sealed: uuid.UUID) -> None:
    tamper(database, "DELETE FROM seals WHERE position > 3")

    verdict = verify(database, sealed)

    assert verdict.sealed == 3
    assert verdict.faults == ("2 entries are neither sealed nor waiting for their seal",)


def test_an_end_that_was_cut_off_with_its_entries_no_longer_has_the_last_seal_that_was_logged(
    database: Database, sealed: uuid.UUID
) -> None:
    """The chain alone cannot tell; the clock writes the last position and hash into the log for this."""
    logged = verify(database, sealed)

    tamper(
        database,
        "DELETE FROM timeline_texts WHERE entry_id IN :cut",
        "DELETE FROM timeline WHERE id IN :cut",
        "DELETE FROM seals WHERE position > 3",
    )
    verdict = verify(database, sealed)

    assert verdict.faults == ()
    assert (verdict.sealed, logged.sealed) == (3, 5)
    assert verdict.last != logged.last


def test_a_chain_that_was_given_to_another_shop_is_not_that_shops(database: Database, sealed: uuid.UUID) -> None:
    other = a_shop(database)

    tamper(database, "UPDATE timeline SET shop_id = :other", "UPDATE seals SET shop_id = :other", other=other)

    assert positions(verify(database, other)) == {1, 2, 3, 4, 5}
    assert verify(database, sealed).sealed == 0


def test_a_chain_is_worth_nothing_without_its_key(database: Database, sealed: uuid.UUID) -> None:
    assert positions(verify(database, sealed, b"another key")) == {1, 2, 3, 4, 5}
    assert positions(verify(database, sealed, b"")) == {1, 2, 3, 4, 5}


def test_sealing_goes_on_after_what_was_tampered_with_and_hides_nothing(database: Database, sealed: uuid.UUID) -> None:
    tamper(database, "UPDATE timeline SET who = 'kim' WHERE id = :third")
    write(database, sealed, 3, first=5)

    assert seal(database, sealed) == 3
    verdict = verify(database, sealed)
    assert (verdict.sealed, positions(verdict)) == (8, {3})


# ── Verifying ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_verifying_reads_only(database: Database, sealed: uuid.UUID) -> None:
    write(database, sealed, 1, first=6)
    before = everything(database)

    with database.reading() as session:  # the database itself would refuse a write
        verdicts = list(seals.verify(session, KEY))

    assert [verdict.shop for verdict in verdicts] == [sealed]
    assert everything(database) == before


def test_a_long_chain_is_walked_in_bounded_pieces(database: Database, shop: uuid.UUID) -> None:
    """More than the thousand rows that are fetched at a time."""
    for first in range(0, 1100, 100):
        write(database, shop, 100, first=first)
        seal(database, shop)
    tamper(database, "UPDATE timeline SET who = 'kim' WHERE id = (SELECT entry_id FROM seals WHERE position = 1050)")

    verdict = verify(database, shop)

    assert (verdict.sealed, positions(verdict)) == (1100, {1050})


def test_nothing_is_known_of_a_shop_that_is_none(database: Database) -> None:
    nobody = uuid.uuid4()

    assert verify(database, nobody) == Verdict(nobody, "", 0, 0, 0, "", ())


@pytest.fixture(autouse=True)
def _whole(database: Database) -> Iterator[None]:
    """Whatever a test did: an entry never waits for a seal that it has."""
    yield
    with database.reading() as session:
        assert session.execute(select(Unsealed).join(Seal, Seal.entry_id == Unsealed.entry_id)).all() == []
