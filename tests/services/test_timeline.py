"""The timeline: every entry with its text, its commitment and its place in the queue for a seal."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select

from connector.db import Database
from connector.models import Entry, EntryText, Shop, Unsealed
from connector.services import timeline
from connector.services.timeline import commitment
from tests.world import START


@pytest.fixture
def shop(database: Database) -> uuid.UUID:
    made = uuid.uuid4()
    with database.transaction() as session:
        session.add(Shop(id=made, platform="toy", domain="one.example", credentials=b"", installed_at=START))
    return made


def test_an_entry_says_who_did_what_when_and_with_which_facts(database: Database, shop: uuid.UUID) -> None:
    with database.transaction() as session:
        timeline.record(session, "rma.declined", shop=shop, rma=None, who="sam", at=START, facts={"why": "worn", "units": [1, 2]})

    with database.reading() as session:
        (entry,) = timeline.entries(session, shop)
        text = session.get_one(EntryText, entry.id)
        waiting = session.execute(select(Unsealed.entry_id, Unsealed.shop_id)).all()
    assert (entry.shop_id, entry.rma_id, entry.who, entry.what, entry.happened_at) == (shop, None, "sam", "rma.declined", START)
    assert not entry.for_shopper
    assert json.loads(text.text) == {"why": "worn", "units": [1, 2]}
    assert entry.commitment == commitment(text.salt, text.text)
    assert [tuple(row) for row in waiting] == [(entry.id, shop)]


def test_an_entry_needs_no_facts_and_may_be_for_the_shopper(database: Database, shop: uuid.UUID) -> None:
    with database.transaction() as session:
        timeline.record(session, "rma.requested", shop=shop, rma=None, who="shopper", at=START, for_shopper=True)

    with database.reading() as session:
        (entry,) = timeline.entries(session, shop)
        assert entry.for_shopper
        assert session.get_one(EntryText, entry.id).text == "{}"


def test_two_entries_of_one_text_have_nothing_in_common(database: Database, shop: uuid.UUID) -> None:
    """Else a guess at an erased text could be checked against its twin."""
    with database.transaction() as session:
        for _ in range(2):
            timeline.record(session, "x", shop=shop, rma=None, who="sam", at=START, facts={"name": "Kim"})

    with database.reading() as session:
        salts = session.execute(select(EntryText.salt)).scalars().all()
        commitments = session.execute(select(Entry.commitment)).scalars().all()
    assert {len(salt) for salt in salts} == {16}
    assert len(set(salts)) == len(set(commitments)) == 2


def test_entries_are_told_in_the_order_in_which_they_happened_also_within_a_moment(database: Database, shop: uuid.UUID) -> None:
    times = [START, START, START, START + timedelta(seconds=1), START - timedelta(days=1), START]
    with database.transaction() as session:
        for n, at in enumerate(times):
            timeline.record(session, f"entry.{n}", shop=shop, rma=None, who="sam", at=at)

    with database.reading() as session:
        told = [entry.what for entry in timeline.entries(session, shop)]

    assert told == ["entry.4", "entry.0", "entry.1", "entry.2", "entry.5", "entry.3"]


def test_a_shop_is_told_its_own(database: Database, shop: uuid.UUID) -> None:
    with database.transaction() as session:
        session.add(Shop(id=(other := uuid.uuid4()), platform="toy", domain="two.example", credentials=b"", installed_at=START))
        session.flush()
        timeline.record(session, "mine", shop=shop, rma=None, who="sam", at=START)
        timeline.record(session, "theirs", shop=other, rma=None, who="kim", at=START)

    with database.reading() as session:
        assert [entry.what for entry in timeline.entries(session, shop)] == ["mine"]
        assert timeline.entries(session, shop, rma=uuid.uuid4()) == []


def test_what_is_taken_back_leaves_no_entry(database: Database, shop: uuid.UUID) -> None:
    def give_up() -> None:
        with database.transaction() as session:
            timeline.record(session, "x", shop=shop, rma=None, who="sam", at=START)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()

    with database.reading() as session:
        assert timeline.entries(session, shop) == []
        assert session.execute(select(Unsealed)).all() == []


@pytest.mark.parametrize(
    "words", ["\x00", "\ud800", "\U0001f381 é", "\r\n\x1b[31m", "</script>", "'; DROP TABLE timeline; --", "x" * 100_000]
)
def test_a15_whatever_words_a_far_side_finds_they_are_kept(database: Database, shop: uuid.UUID, words: str) -> None:
    with database.transaction() as session:
        timeline.record(session, "money.refused", shop=shop, rma=None, who="platform", at=START, facts={"words": words})

    with database.reading() as session:
        (text,) = session.execute(select(EntryText.text)).scalars()
    assert json.loads(text) == {"words": words}


def test_no_part_of_a_text_passes_for_salt() -> None:
    assert commitment(b"salt", "text") != commitment(b"saltt", "ext")
    assert commitment(b"salt", "text") != commitment(b"sal", "ttext")
    assert commitment(b"", "") != commitment(b"\x00", "")
