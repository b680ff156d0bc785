"""A shop leaves, and its persons are forgotten once it had its time to come back (I4, W6, A72)."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from connector.models import (
    ContactRow,
    Entry,
    EntryText,
    HintRow,
    Install,
    Kind,
    MailState,
    Refund,
    Rma,
    Role,
    Shop,
    ShopStatus,
    StaffLink,
    StaffMember,
)
from connector.services import links, mails, outbox, privacy, seals, shops, timeline
from connector.services.mails import Event
from connector.services.shops import REINSTALL_WITHIN, keys_of, unseal
from tests.services.acts import at_once, everything, placed, told, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
KEY = b"seal"


def uninstall(world: World) -> bool:
    with world.db.transaction() as session:
        return shops.uninstall(session, world.shop.id, who="owner", now=world.clock.now)


def redact(world: World) -> int:
    """Redact until nothing is left to do: how many transactions that took."""
    times, more = 0, True
    while more:
        with world.db.transaction() as session:
            more = privacy.redact(session, world.shop.id, now=world.clock.now)
        times += 1
    return times


def come_back(world: World) -> None:
    with world.db.transaction() as session:
        shops.connect(
            session,
            platform="toy",
            domain=world.shop.domain,
            credentials={"key": "new"},
            vault=world.vault,
            time_zone="UTC",
            now=world.clock.now,
        )


def shop(world: World) -> Shop:
    with world.db.reading() as session:
        return session.get_one(Shop, world.shop.id)


def hint(world: World, count: int = 1) -> None:
    with world.db.transaction() as session:
        session.add_all(
            [
                HintRow(
                    shop_id=world.shop.id, topic="order.updated", digest=uuid.uuid4().bytes * 2, body=b"kim@example.com", received_at=START
                )
                for _ in range(count)
            ]
        )


def hints(world: World) -> int:
    with world.db.reading() as session:
        return session.execute(select(func.count()).select_from(HintRow).where(HintRow.shop_id == world.shop.id)).scalar_one()


@pytest.fixture
def lived(world: World) -> World:
    """A shop with a history: a paid return, one that was refused with a reason, and an alarm of its deliveries."""
    order = placed(world, an_order())
    paid, refused = world.received(order, {"line-1": 1}), world.received(order, {"line-1": 1})
    world.resolve(paid)
    world.resolve(refused)
    with world.db.transaction() as session:
        for row in world.rows(refused):
            session.get_one(Refund, row.id).words = "Card of Kim Example declined"
        for what, facts in {
            "rma.declined": {"why": "Kim wore it"},
            "money.refused": {"words": "Card of Kim Example declined"},
            "note.added": {"text": "Kim rang"},
            "order.refunded_elsewhere": {"reference": "admin-1", "minor": 700},
            "alarm.poisoned": {"hint": "7"},
        }.items():
            timeline.record(session, what, shop=world.shop.id, rma=paid, who="sam", at=START, facts=facts)  # type: ignore[arg-type]
        seals.seal(session, world.shop.id, KEY)
    return world


# ── Uninstalled ──


def test_i4_an_uninstalled_shop_has_no_credentials_and_does_nothing_more(lived: World) -> None:
    with lived.db.transaction() as session:
        for kind in Kind:
            outbox.put(session, kind, uuid.uuid4(), shop=lived.shop.id, now=START)

    assert uninstall(lived)

    found = shop(lived)
    assert (found.status, found.uninstalled_at, found.credentials) == (ShopStatus.UNINSTALLED, START, b"")
    with lived.db.transaction() as session:
        assert unseal(lived.vault, keys_of(session, lived.shop.id)) == {}
        claimed = outbox.claim(session, kinds=[kind.value for kind in Kind], limit=99, now=START + 1000 * HOUR)
    assert {row.kind for row in claimed} == {"mail", "redact"}  # a message to nobody is dropped
    assert told(lived.db)[-1][:2] == ("shop.uninstalled", "owner")


def test_i4_its_door_is_remembered_so_that_deliveries_learn_that_nobody_lives_there(lived: World) -> None:
    with lived.db.transaction() as session:
        session.get_one(Shop, lived.shop.id).door = "digest"

    uninstall(lived)

    assert shop(lived).door == "digest"


def test_uninstalling_twice_is_uninstalling_once(lived: World) -> None:
    uninstall(lived)
    before = everything(lived.db)
    lived.clock.advance(HOUR)

    assert not uninstall(lived)
    assert everything(lived.db) == before


def test_what_was_delivered_and_not_read_goes_at_once(lived: World) -> None:
    hint(lived, 230)
    uninstall(lived)
    with lived.db.transaction() as session:
        (row,) = outbox.claim(session, kinds=["redact"], limit=9, now=START)
    assert row.subject_id == lived.shop.id

    assert redact(lived) == 4

    assert hints(lived) == 0
    assert contacts(lived) == [True, True]


# ── Back in time ──


def test_i4_a_shop_that_is_back_within_48_hours_finds_its_history(lived: World) -> None:
    uninstall(lived)
    lived.clock.advance(REINSTALL_WITHIN - SECOND)
    redact(lived)
    come_back(lived)
    before = everything(lived.db)
    lived.clock.advance(SECOND)

    redact(lived)

    assert everything(lived.db) == before
    assert contacts(lived) == [True, True]


def test_a_shop_that_left_twice_has_its_time_from_the_second_time(lived: World) -> None:
    uninstall(lived)
    lived.clock.advance(40 * HOUR)
    come_back(lived)
    uninstall(lived)
    lived.clock.advance(10 * HOUR)

    redact(lived)

    assert contacts(lived) == [True, True]
    assert sorted(row.available_at - START for row in work(lived.db, "redact")) == [0 * HOUR, 40 * HOUR, 48 * HOUR, 88 * HOUR]


def test_a_shop_that_comes_back_while_it_is_redacted_keeps_the_rest(lived: World) -> None:
    gone_for_good(lived, redacts=False)
    with lived.db.transaction() as session:
        assert privacy.redact(session, lived.shop.id, now=lived.clock.now)
    texts = told(lived.db)
    come_back(lived)

    redact(lived)

    assert told(lived.db) == texts


# ── Redacted ──


def contacts(world: World) -> list[bool]:
    """Whether each contact is still there."""
    with world.db.reading() as session:
        rows = session.execute(select(ContactRow).join(Rma, Rma.id == ContactRow.rma_id).where(Rma.shop_id == world.shop.id)).scalars()
        return [row.sealed is not None for row in rows]


def gone_for_good(world: World, *, redacts: bool = True) -> None:
    uninstall(world)
    world.clock.advance(REINSTALL_WITHIN)
    if redacts:
        redact(world)


def test_i4_w6_after_48_hours_no_person_is_left_and_the_amounts_are(lived: World) -> None:
    before = everything(lived.db)

    gone_for_good(lived)

    after = everything(lived.db)
    assert shop(lived).redacted_at == lived.clock.now
    assert contacts(lived) == [False, False]
    for table in ("orders", "rmas", "rma_lines", "units", "resolutions", "policies", "spending"):
        assert after[table] == before[table], table
    assert [row | {"words": None} for row in before["refunds"]] == after["refunds"]
    assert "kim" not in json.dumps(after, default=_shown).lower()


def test_i4_w6_nor_are_staff_and_whom_a_message_was_to(lived: World) -> None:
    with lived.db.transaction() as session:
        sam = StaffMember(shop_id=lived.shop.id, email_digest="x", email=b"sealed", role=Role.VIEW, invited_at=START, invited_by="owner")
        session.add(sam)
        session.flush()
        session.add(StaffLink(staff_id=sam.id, digest="x", made_at=START))
        mails.to(session, Event.CODE, {"email": "kim@example.com", "code": "1"}, shop=lived.shop.id, vault=lived.vault, now=START)

    gone_for_good(lived)

    after = everything(lived.db)
    assert after["staff"] == after["staff_links"] == []
    assert [row["event"] for row in after["mails"] if row["sealed"] is not None] == []
    assert [row["state"] for row in after["mails"] if row["event"] == "code"] == [MailState.DROPPED]


def test_i4_w6_nor_does_a_link_open_what_was_mailed_and_other_shops_keep_theirs(lived: World, make_world: MakeWorld) -> None:
    other = make_world()
    theirs = other.requested(placed(other, an_order()), {"line-1": 1})
    with lived.db.transaction() as session:
        for rma in session.execute(select(Rma.id)).scalars():
            links.mailed(session, rma, uuid.uuid4(), vault=lived.vault, now=START)

    gone_for_good(lived)

    assert [row["rma_id"] for row in everything(lived.db)["links"]] == [theirs]


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def test_i4_the_chain_of_seals_verifies_after_the_texts_are_gone(lived: World) -> None:
    gone_for_good(lived)
    with lived.db.transaction() as session:
        seals.seal(session, lived.shop.id, KEY)

    with lived.db.reading() as session:
        verdict = seals.verify_one(session, lived.shop.id, KEY)
        entries = session.execute(select(func.count()).select_from(Entry)).scalar_one()

    assert verdict.faults == ()
    assert verdict.sealed == entries
    assert verdict.erased > 0


def test_what_may_quote_somebody_is_erased_and_codes_and_amounts_stay(lived: World) -> None:
    gone_for_good(lived)

    kept = {what for what, _, _ in told(lived.db)}
    assert kept == {
        "money.reserved",
        "order.refunded_elsewhere",
        "alarm.poisoned",
        "shop.uninstalled",
        "shop.redacted",
    }


def test_redacting_again_changes_nothing(lived: World) -> None:
    gone_for_good(lived)
    before = everything(lived.db)
    lived.clock.advance(HOUR)

    assert redact(lived) == 1
    assert everything(lived.db) == before


def test_two_at_once_forget_everything_once(lived: World) -> None:
    gone_for_good(lived, redacts=False)

    assert all(isinstance(times, int) for times in at_once(*[lambda: redact(lived)] * 3))

    assert contacts(lived) == [False, False]
    assert [what for what, _, _ in told(lived.db)].count("shop.redacted") == 1


def test_many_persons_are_forgotten_some_at_a_time(world: World) -> None:
    order = placed(world, an_order(units=3))
    first = world.requested(order, {"line-1": 1})
    with world.db.transaction() as session:
        of = session.get_one(Rma, first)
        for number in range(150):
            one = Rma(
                shop_id=of.shop_id, order_ref=of.order_ref, number=f"n{number}", state=of.state, policy_id=of.policy_id,
                decision=of.decision, form_token=f"t{number}", requested_at=START,
            )  # fmt: skip
            session.add(one)
            session.flush()
            session.add(ContactRow(rma_id=one.id, sealed=b"somebody"))

    gone_for_good(world, redacts=False)

    assert redact(world) >= 3
    assert not any(contacts(world))


def test_other_shops_keep_their_persons(lived: World, make_world: MakeWorld) -> None:
    other = make_world()
    other.requested(placed(other, an_order()), {"line-1": 1})
    hint(other)
    before = told(other.db)

    gone_for_good(lived)

    assert (contacts(other), hints(other)) == ([True], 1)
    assert len(told(lived.db)) < len(before)
    with other.db.reading() as session:
        texts = session.execute(select(Entry.what).join(EntryText, EntryText.entry_id == Entry.id).where(Entry.shop_id == other.shop.id))
        assert sorted(texts.scalars()) == ["rma.authorise", "rma.requested"]


def test_a_shop_that_never_left_loses_nothing(lived: World) -> None:
    hint(lived)
    before = everything(lived.db)
    lived.clock.advance(1000 * HOUR)

    redact(lived)

    assert everything(lived.db) == before


# ── Installations ──


def test_installations_are_forgotten_after_their_time_a_hundred_at_once(world: World) -> None:
    with world.db.transaction() as session:
        session.add_all([Install(state_digest=f"{n}", platform="x", address="a", begun_at=START + n * SECOND) for n in range(150)])

    counts: list[Any] = []
    for _ in range(3):
        with world.db.transaction() as session:
            counts.append(privacy.forget_installs(session, before=START + 140 * SECOND))

    assert counts == [100, 40, 0]
