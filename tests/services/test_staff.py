"""Who works at a desk: A36, A61, A62, A77. Links that work once, visits that end, budgets, roles."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from connector.models import Mail, Role, StaffLink, StaffMember
from connector.services import staff
from connector.services.staff import Member, NoAddress, NotStaff
from tests.services.conftest import MakeWorld
from tests.world import World

KIM = "kim@example.com"


def invited(world: World, email: str = KIM, role: Role = Role.HANDLE) -> Member:
    with world.db.transaction() as session:
        return staff.invite(session, world.shop.id, email, role, by="operator", vault=world.vault, now=world.clock.now)


def link(world: World, member: Member) -> str:
    with world.db.transaction() as session:
        return staff.link(session, member.id, vault=world.vault, now=world.clock.now)


def redeem(world: World, secret: str) -> Member | None:
    with world.db.transaction() as session:
        return staff.redeem(session, world.shop.id, secret, vault=world.vault, now=world.clock.now)


def visiting(world: World, visit: uuid.UUID | None) -> Member | None:
    assert visit is not None
    with world.db.reading() as session:
        return staff.visiting(session, world.shop.id, visit, vault=world.vault, now=world.clock.now)


def ask(world: World, email: str = KIM, network: str = "192.0.2.1") -> None:
    with world.db.transaction() as session:
        staff.ask(session, world.shop.id, email, network, vault=world.vault, now=world.clock.now)


def mailed(world: World) -> int:
    with world.db.reading() as session:
        return session.execute(select(func.count()).select_from(Mail)).scalar_one()


def test_a36_a_link_signs_in_once_however_many_press_at_once(world: World) -> None:
    secret = link(world, invited(world))

    with ThreadPoolExecutor(4) as pool:
        came = [member for member in pool.map(lambda _: redeem(world, secret), range(4)) if member]

    assert [member.email for member in came] == [KIM]
    assert redeem(world, secret) is None


def test_a36_a_link_works_for_half_an_hour(world: World) -> None:
    early, late = (link(world, invited(world)) for _ in range(2))

    world.clock.advance(timedelta(minutes=29))
    assert redeem(world, early)
    world.clock.advance(timedelta(minutes=1))
    assert redeem(world, late) is None


def test_a_secret_is_kept_as_a_digest_and_an_address_as_ciphertext(world: World) -> None:
    secret = link(world, invited(world))

    with world.db.reading() as session:
        kept = session.execute(select(StaffLink.digest)).scalar_one()
        row = session.execute(select(StaffMember)).scalar_one()
    assert secret not in kept
    assert KIM.encode() not in row.email
    assert KIM not in row.email_digest


def test_a_visit_ends_after_twelve_hours_and_when_somebody_signs_out(world: World) -> None:
    member = invited(world)
    first, second = redeem(world, link(world, member)), redeem(world, link(world, member))
    assert first
    assert second

    with world.db.transaction() as session:
        staff.leave(session, first.visit or uuid.uuid4(), now=world.clock.now)
    assert visiting(world, first.visit) is None
    assert visiting(world, second.visit)
    world.clock.advance(timedelta(hours=12))
    assert visiting(world, second.visit) is None


def test_a61_who_is_removed_is_nobody_at_once_and_stays_so_after_a_new_invitation(world: World) -> None:
    member = invited(world)
    unused, here = link(world, member), redeem(world, link(world, member))
    assert here

    with world.db.transaction() as session:
        staff.remove(session, world.shop.id, " KIM@example.com ", by="operator", vault=world.vault, now=world.clock.now)
    assert visiting(world, here.visit) is None
    assert redeem(world, unused) is None

    again = invited(world, role=Role.VIEW)
    assert again.id == member.id
    assert visiting(world, here.visit) is None
    assert redeem(world, unused) is None
    assert redeem(world, link(world, again))


def test_a61_a_new_role_holds_from_the_next_request_on(world: World) -> None:
    here = redeem(world, link(world, invited(world, role=Role.MONEY)))
    assert here

    invited(world, role=Role.VIEW)

    found = visiting(world, here.visit)
    assert found
    assert found.role is Role.VIEW


def test_a61_a_link_of_one_desk_opens_no_other(world: World, make_world: MakeWorld) -> None:
    other = make_world()
    secret = link(world, invited(world))
    with other.db.transaction() as session:
        assert staff.redeem(session, other.shop.id, secret, vault=world.vault, now=world.clock.now) is None
    here = redeem(world, secret)
    assert here
    with other.db.reading() as session:
        assert staff.visiting(session, other.shop.id, here.visit or uuid.uuid4(), vault=world.vault, now=world.clock.now) is None


def test_a77_an_address_gets_three_links_in_a_quarter_of_an_hour(world: World) -> None:
    invited(world)
    for _ in range(6):
        ask(world)
    assert mailed(world) == 3

    world.clock.advance(timedelta(minutes=16))
    ask(world)
    assert mailed(world) == 4


def test_a77_a_network_may_ask_twenty_times_whatever_addresses_it_names(world: World) -> None:
    for number in range(20):
        ask(world, f"nobody-{number}@example.com")
    invited(world)

    ask(world)
    assert mailed(world) == 0
    ask(world, network="198.51.100.7")
    assert mailed(world) == 1


def test_nobody_else_is_written_to(world: World) -> None:
    invited(world)
    for stranger in ("mallory@example.com", "", "kim", "kim@example.com\nBcc: all@example.com", f"{'k' * 300}@example.com"):
        ask(world, stranger, network=uuid.uuid4().hex)
    with world.db.transaction() as session:
        staff.remove(session, world.shop.id, KIM, by="operator", vault=world.vault, now=world.clock.now)
    ask(world)
    assert mailed(world) == 0


@pytest.mark.parametrize("typed", ["", "kim", "kim@", "@example.com", "kim@example", "a b@example.com", "kim@@example.com"])
def test_what_is_no_address_is_not_invited(world: World, typed: str) -> None:
    with pytest.raises(NoAddress):
        invited(world, typed)


def test_somebody_who_does_not_work_here_cannot_be_removed(world: World) -> None:
    with world.db.transaction() as session, pytest.raises(NotStaff):
        staff.remove(session, world.shop.id, KIM, by="operator", vault=world.vault, now=world.clock.now)


def test_old_links_are_forgotten(world: World) -> None:
    link(world, invited(world))
    with world.db.transaction() as session:
        assert staff.forget(session, before=world.clock.now) == 0
        assert staff.forget(session, before=world.clock.now + timedelta(seconds=1)) == 1


def test_a_masked_address_says_enough_for_who_knows_it() -> None:
    assert staff.masked(KIM) == "k…@example.com"
