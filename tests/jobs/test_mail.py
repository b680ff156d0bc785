"""Mail: one message for each event, marked before it leaves, over real SMTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select

from connector import links as addresses
from connector.domain.orders import LineRef, RefundRecord, RefundRef
from connector.domain.rma import Disposition, Move, RmaState
from connector.domain.wanted import Payout
from connector.mail import Post, near
from connector.models import ContactRow, Kind, Mail, MailState, Rma, Shop
from connector.services import desk, links, lookup, mails, orders, receipts, shops
from connector.services.desk import Judged
from connector.services.mails import ANSWER_WITHIN, GIVEN_UP_AFTER, Event
from connector.services.outbox import Later
from jobs import mail, money
from jobs.handlers import HANDLERS
from jobs.site import Site
from tests.mailboxes import Mailbox, mailbox
from tests.services.acts import at_once, everything, facts_of, in_cash, placed, told, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

BASE = "https://retour.example"
SENDER = "returns@retour.example"
BY_HAND = "format = 1"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as listening:
        yield listening


def site(world: World, box: Mailbox | None) -> Site:
    post = None if box is None else Post(box.url, SENDER, BASE)
    return Site(world.db, lambda _keys: world.toy, vault=world.vault, base_url=BASE, post=post)


def rows(world: World) -> list[Mail]:
    with world.db.reading() as session:
        return list(session.execute(select(Mail).order_by(Mail.made_at, Mail.id)).scalars())


def only(world: World) -> Mail:
    (row,) = rows(world)
    return row


def asked(world: World) -> uuid.UUID:
    return world.requested(placed(world, an_order()), {"line-1": 1})


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    body: Any = message.get_body((kind,))
    written: str = body.get_content()
    return written


# ── One message for each event ──


def test_n1_an_authorised_return_says_what_to_do_and_links_to_its_page(world: World, box: Mailbox) -> None:
    rma = asked(world)

    mail.hand_over(site(world, box), only(world).id)

    (message,) = box.taken
    assert (message["To"], message["From"].addresses[0].addr_spec) == ("kim@example.com", SENDER)
    assert message["From"].addresses[0].display_name == world.shop.domain
    assert message["Auto-Submitted"] == "auto-generated"
    with world.db.reading() as session:
        number = session.get_one(Rma, rma).number
        secret = text_of(message).split("?link=")[1].split()[0]
        assert links.behind(session, world.shop.id, number, secret, vault=world.vault) is not None
    assert f"{number[:4]}-{number[4:]}" in message["Subject"]
    assert "1 April 2026" in text_of(message)
    assert f"?link={secret}" in text_of(message, "html")
    assert (only(world).state, only(world).handed_at) == (MailState.HANDED, START)


def test_n1_each_step_of_a_return_is_written_about_once(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)
    rma = asked(world)

    with world.db.transaction() as session:
        desk.authorise(session, rma, who="sam", now=START)
        mails.about(session, Event.AUTHORISED, rma, shop=world.shop.id, now=START)

    assert sorted(row.event for row in rows(world)) == ["authorised", "requested"]
    assert len({row.message_id for row in rows(world)}) == len(work(world.db, "mail")) == 2


@pytest.mark.parametrize("by", [Move.DECLINE, Move.CANCEL])
def test_n1_what_ends_a_request_is_written_about_with_its_reason(make_world: MakeWorld, box: Mailbox, by: Move) -> None:
    world = make_world(policy=BY_HAND)
    rma = asked(world)
    with world.db.transaction() as session:
        desk.close(session, rma, by, who="sam", now=START, why="It was <b>worn</b> & washed")

    (row,) = [row for row in rows(world) if row.event != "requested"]
    mail.hand_over(site(world, box), row.id)

    declined = by is Move.DECLINE
    assert ("write to the shop" in text_of(box.taken[-1])) is declined  # an answer to our message would reach nobody
    assert ("It was <b>worn</b> & washed" in text_of(box.taken[-1])) is declined
    assert ("It was &lt;b&gt;worn&lt;/b&gt; &amp; washed" in text_of(box.taken[-1], "html")) is declined


@pytest.mark.parametrize(
    ("then", "overtaken", "told_then"),
    [
        (RmaState.REQUESTED, [], ["requested"]),
        (RmaState.DECLINED, ["requested"], ["declined"]),
        (RmaState.CANCELLED, ["authorised", "requested"], ["cancelled"]),
        (RmaState.EXPIRED, ["authorised", "requested"], ["expired"]),
        (RmaState.RECEIVED, ["authorised", "requested"], ["received"]),
        (RmaState.RESOLVED, ["authorised", "received", "requested"], []),
    ],
)
def test_n1_what_is_not_true_any_more_is_not_written(
    make_world: MakeWorld, box: Mailbox, then: RmaState, overtaken: list[str], told_then: list[str]
) -> None:
    world = make_world(policy=BY_HAND)
    _brought_to(world, asked(world), then)

    for row in rows(world):
        mail.hand_over(site(world, box), row.id)

    assert sorted(row.event for row in rows(world) if (row.state, row.words) == (MailState.DROPPED, "overtaken")) == overtaken
    assert [row.event for row in rows(world) if row.state is MailState.HANDED] == told_then
    assert len(box.taken) == len(told_then)
    assert "mail.dropped" not in {what for what, _, _ in told(world.db)}  # the next step is told


def test_n1_a_parcel_that_came_after_all_is_not_said_to_be_missing(make_world: MakeWorld, box: Mailbox) -> None:
    world = make_world(policy=BY_HAND)
    rma = asked(world)
    _brought_to(world, rma, RmaState.EXPIRED)
    with world.db.transaction() as session:
        desk.receive(session, rma, {LineRef("line-1"): 1}, who="dock", now=START)

    for row in rows(world):
        mail.hand_over(site(world, box), row.id)

    assert [row.event for row in rows(world) if row.state is MailState.HANDED] == ["received"]


def _brought_to(world: World, rma: uuid.UUID, state: RmaState) -> None:
    if state is RmaState.REQUESTED:
        return
    with world.db.transaction() as session:
        if state is not RmaState.DECLINED:
            desk.authorise(session, rma, who="sam", now=START)
        if state in _ENDS:
            desk.close(session, rma, _ENDS[state], who="sam", now=START, why="so")
            return
        desk.receive(session, rma, {LineRef("line-1"): 1}, who="dock", now=START)
        desk.inspect(session, rma, [Judged(LineRef("line-1"), Disposition.RESTOCK, 1)], who="dock", now=START)
    if state is RmaState.RESOLVED:
        world.resolve(rma)


_ENDS = {RmaState.DECLINED: Move.DECLINE, RmaState.CANCELLED: Move.CANCEL, RmaState.EXPIRED: Move.EXPIRE}


@pytest.mark.parametrize(("payout", "event"), [(Payout.ORIGINAL, "refunded"), (Payout.STORE_CREDIT, "credited")])
def test_n1_money_is_written_about_when_it_has_moved_and_not_before(world: World, box: Mailbox, payout: Payout, event: str) -> None:
    rma = world.received(placed(world, an_order()), {"line-1": 1})
    world.resolve(rma, payout)
    assert event not in {row.event for row in rows(world)}

    _settle(world)
    _settle(world)

    (row,) = [row for row in rows(world) if row.event == event]
    mail.hand_over(site(world, box), row.id)
    assert "€12.00" in text_of(box.taken[0])
    assert (world.rows()[0].id == row.subject_id) is True


def test_n1_where_the_shop_itself_tells_of_refunds_we_do_not(world: World) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"tells_of_refunds": "yes"}
    order = placed(world, an_order())
    for payout in (Payout.ORIGINAL, Payout.STORE_CREDIT):
        world.resolve(world.received(order, {"line-1": 1}), payout)
        _settle(world)

    assert {row.event for row in rows(world)} >= {"credited"}
    assert "refunded" not in {row.event for row in rows(world)}


@pytest.mark.parametrize("tells", ["yes", "no"])
def test_n1_money_that_a_person_paid_out_is_written_about_by_us_for_no_shop_could(world: World, box: Mailbox, tells: str) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"tells_of_refunds": tells}
    world.resolve(world.received(placed(world, an_order(tenders=in_cash)), {"line-1": 1}))
    with world.db.transaction() as session:
        receipts.answer_paid(session, world.rows()[0].id, RefundRef("TRANSFER-77"), who="sam", now=START)

    (row,) = [row for row in rows(world) if row.event == "refunded"]
    mail.hand_over(site(world, box), row.id)
    assert "has refunded €12.00" in text_of(box.taken[0])
    assert "anks" not in text_of(box.taken[0])
    assert "on its way" not in box.taken[0]["Subject"]


def test_n1_a_refund_that_the_shop_made_and_a_person_named_was_told_by_the_shop(world: World) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"tells_of_refunds": "yes"}
    order = placed(world, an_order(tenders=in_cash))
    world.resolve(world.received(order, {"line-1": 1}))
    shown = replace(order, refunds=(RefundRecord(RefundRef("admin-1"), 1200),))
    with world.db.transaction() as session:
        orders.keep(session, world.shop.id, shown, read_began=START, vault=world.vault)
        receipts.answer_paid(session, world.rows()[0].id, RefundRef("admin-1"), who="sam", now=START)

    assert "refunded" not in {row.event for row in rows(world)}


def _settle(world: World) -> None:
    for row in world.rows():
        money.settle(site(world, None), row.id)


# ── Answers of mail servers ──


def test_an_unanswered_message_goes_out_once_more_with_the_same_id_and_date(world: World, box: Mailbox) -> None:
    asked(world)
    row, at = only(world), site(world, box)
    box.hang_up = True

    with pytest.raises(Later) as wait:
        mail.hand_over(at, row.id)
    assert wait.value.delay == ANSWER_WITHIN
    with pytest.raises(Later):  # somebody may still wait for the answer
        mail.hand_over(at, row.id)
    world.clock.advance(ANSWER_WITHIN)
    box.hang_up = False
    mail.hand_over(at, row.id)

    first, second = box.taken
    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])
    assert (only(world).state, only(world).attempt) == (MailState.HANDED, 2)
    assert facts_of(world.db, "mail.handed") == {"event": "authorised", "attempt": 2}


def test_a_message_that_goes_out_again_is_the_same_to_the_byte_and_has_one_link(world: World, box: Mailbox) -> None:
    asked(world)
    row, at = only(world), site(world, box)
    box.rcpt = "451 later"
    for _ in range(3):
        with pytest.raises(Later):
            mail.hand_over(at, row.id)
    box.rcpt, box.hang_up = "", True
    with pytest.raises(Later):
        mail.hand_over(at, row.id)
    world.clock.advance(ANSWER_WITHIN)
    box.hang_up = False
    mail.hand_over(at, row.id)

    first, second = box.wire
    assert first == second
    assert len(everything(world.db)["links"]) == 1


def test_a_link_that_was_revoked_stays_so_when_its_message_goes_out_again(world: World, box: Mailbox) -> None:
    rma = asked(world)
    row, at = only(world), site(world, box)
    box.hang_up = True
    with pytest.raises(Later):
        mail.hand_over(at, row.id)
    with world.db.transaction() as session:
        assert links.revoke(session, rma, now=START) == 1
    world.clock.advance(ANSWER_WITHIN)
    box.hang_up = False
    mail.hand_over(at, row.id)

    with world.db.reading() as session:
        secret = text_of(box.taken[1]).split("?link=")[1].split()[0]
        assert links.behind(session, world.shop.id, session.get_one(Rma, rma).number, secret, vault=world.vault) is None


def test_each_message_has_a_link_of_its_own(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)
    rma = asked(world)
    with world.db.transaction() as session:
        secrets = {links.mailed(session, rma, uuid.uuid4(), vault=world.vault, now=START) for _ in range(3)}

    assert len(secrets) == len(everything(world.db)["links"]) == 3


def test_a_message_that_was_not_answered_twice_is_left_and_the_timeline_says_so(world: World, box: Mailbox) -> None:
    asked(world)
    row, at = only(world), site(world, box)
    box.hang_up = True
    for _ in range(2):
        with pytest.raises(Later):
            mail.hand_over(at, row.id)
        world.clock.advance(ANSWER_WITHIN)

    mail.hand_over(at, row.id)
    mail.hand_over(at, row.id)

    assert len(box.taken) == 2
    assert (only(world).state, only(world).words) == (MailState.REFUSED, "unanswered")
    assert facts_of(world.db, "mail.refused") == {"event": "authorised", "attempt": 2, "why": "unanswered"}


@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_a_server_that_will_never_take_it_is_asked_once(world: World, box: Mailbox, where: str) -> None:
    asked(world)
    setattr(box, where, "550 5.1.1 no kim@example.com here")

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, only(world).words) == (MailState.REFUSED, "550")
    assert box.taken == []


@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_a_server_that_is_busy_is_asked_again_and_no_attempt_counts(world: World, box: Mailbox, where: str) -> None:
    asked(world)
    setattr(box, where, "451 4.3.0 later")
    for _ in range(5):
        with pytest.raises(Later):
            mail.hand_over(site(world, box), only(world).id)
        assert (only(world).state, only(world).attempt) == (MailState.WAITING, 0)
    setattr(box, where, "")

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, only(world).attempt) == (MailState.HANDED, 1)


@pytest.mark.parametrize("answer", ["530 5.7.0 authenticate first", "550 5.7.1 not from returns@retour.example", "451 later"])
def test_a_server_that_takes_nothing_from_us_loses_nothing_for_that_is_our_fault(world: World, box: Mailbox, answer: str) -> None:
    asked(world)
    box.sender = answer
    for _ in range(3):
        with pytest.raises(Later):
            mail.hand_over(site(world, box), only(world).id)
        assert (only(world).state, only(world).attempt) == (MailState.WAITING, 0)
    box.sender = ""

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, len(box.taken)) == (MailState.HANDED, 1)


def test_a_server_that_is_away_loses_nothing_until_the_message_would_only_confuse(world: World) -> None:
    asked(world)
    nobody = site(world, Mailbox(1))
    with pytest.raises(Later):
        mail.hand_over(nobody, only(world).id)
    world.clock.advance(GIVEN_UP_AFTER + timedelta(seconds=1))

    mail.hand_over(nobody, only(world).id)

    assert (only(world).state, only(world).words) == (MailState.REFUSED, "too_late")


def test_a_worker_that_was_killed_after_the_mark_sends_it_once_more_and_no_more(world: World, box: Mailbox) -> None:
    asked(world)
    with world.db.transaction() as session:
        assert mails.mark(session, only(world).id, vault=world.vault, now=START) is not None
    world.clock.advance(ANSWER_WITHIN)

    mail.hand_over(site(world, box), only(world).id)

    assert len(box.taken) == 1
    assert (only(world).state, only(world).attempt) == (MailState.HANDED, 2)


def test_f_two_workers_at_once_send_one_message(world: World, box: Mailbox) -> None:
    asked(world)
    row, at = only(world).id, site(world, box)

    at_once(*[lambda: mail.hand_over(at, row)] * 4)

    assert len(box.taken) == 1
    assert only(world).state is MailState.HANDED


# ── Nobody to write to ──


def test_without_a_mail_server_the_row_says_so_and_nothing_fails(world: World) -> None:
    asked(world)

    mail.hand_over(site(world, None), only(world).id)

    assert (only(world).state, only(world).words) == (MailState.DROPPED, "no_server")


def test_w6_an_erased_contact_is_written_to_no_more(world: World, box: Mailbox) -> None:
    rma = asked(world)
    with world.db.transaction() as session:
        session.get_one(ContactRow, rma).sealed = None

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, box.taken) == (MailState.DROPPED, [])


def test_i4_the_shoppers_of_a_shop_that_left_are_not_written_to(world: World, box: Mailbox) -> None:
    asked(world)
    with world.db.transaction() as session:
        shops.uninstall(session, world.shop.id, who="owner", now=START)

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, box.taken) == (MailState.DROPPED, [])


# ── To others ──


def test_d1_a_link_for_staff_is_sealed_until_it_is_out_and_gone_afterwards(world: World, box: Mailbox) -> None:
    with world.db.transaction() as session:
        values = {"email": "CANARY@example.com", "secret": "CANARY-secret"}
        mails.to(session, Event.SIGN_IN, values, shop=world.shop.id, vault=world.vault, now=START)
    assert "canary" not in repr(everything(world.db)).lower()

    mail.hand_over(site(world, box), only(world).id)

    assert box.to == ["canary@example.com"]
    with world.db.reading() as session:
        handle = session.get_one(Shop, world.shop.id).handle
    assert f"{BASE}/desk/{handle}/enter?link=CANARY-secret" in text_of(box.taken[0])
    assert only(world).sealed is None
    assert "canary" not in repr(told(world.db)).lower()


@pytest.mark.parametrize(("event", "lives"), [(Event.SIGN_IN, addresses.SIGN_IN_LIVES), (Event.CODE, lookup.CODE_LIVES)])
def test_a_secret_that_opens_nothing_any_more_is_not_mailed(world: World, box: Mailbox, event: Event, lives: timedelta) -> None:
    for _ in range(2):
        with world.db.transaction() as session:
            values = {"email": "kim@example.com", "secret": "s", "code": "1"}
            mails.to(session, event, values, shop=world.shop.id, vault=world.vault, now=world.clock.now)
        world.clock.advance(timedelta(seconds=1))
    world.clock.advance(lives - timedelta(seconds=2))  # the first is that old now

    for row in rows(world):
        mail.hand_over(site(world, box), row.id)

    assert [(row.state, row.words, row.sealed) for row in rows(world)] == [
        (MailState.REFUSED, "too_late", None),
        (MailState.HANDED, None, None),
    ]


@pytest.mark.parametrize("address", ["kim@exämple.com", "Kim@Example.com "])
def test_addresses_go_out_as_mail_servers_take_them(world: World, box: Mailbox, address: str) -> None:
    _to(world, address)

    mail.hand_over(site(world, box), only(world).id)

    assert box.to in (["kim@xn--exmple-cua.com"], ["kim@example.com"])


def test_an_address_beyond_ascii_is_written_to_where_the_server_can(world: World, box: Mailbox) -> None:
    _to(world, "kîm@example.com")

    mail.hand_over(site(world, box), only(world).id)

    assert box.to == ["kîm@example.com"]


@pytest.mark.parametrize("address", ["kim", "kim@example.com\r\nBcc: eve@example.com", "a@b@c", ""])
def test_a41_nothing_but_an_address_is_an_address(world: World, box: Mailbox, address: str) -> None:
    _to(world, address)

    mail.hand_over(site(world, box), only(world).id)

    assert box.taken == []
    assert only(world).state in {MailState.REFUSED, MailState.DROPPED}


def test_a41_a_shop_whose_name_has_a_line_break_writes_all_the_same(world: World, box: Mailbox) -> None:
    asked(world)
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"name": "Atelier\nNord"}

    mail.hand_over(site(world, box), only(world).id)

    assert box.taken[0]["From"].addresses[0].display_name == "Atelier Nord"


def test_what_cannot_be_rendered_is_refused_at_once_and_nobody_is_called(world: World, box: Mailbox) -> None:
    with world.db.transaction() as session:
        values = {"email": "kim@example.com", "code": "\ud800"}
        mails.to(session, Event.CODE, values, shop=world.shop.id, vault=world.vault, now=START)

    mail.hand_over(site(world, box), only(world).id)

    assert (only(world).state, only(world).words, box.taken) == (MailState.REFUSED, "render", [])


def _to(world: World, address: str) -> None:
    with world.db.transaction() as session:
        values = {"email": address, "code": "123456"}
        mails.to(session, Event.CODE, values, shop=world.shop.id, vault=world.vault, now=START)


@pytest.mark.parametrize(
    ("host", "is_near"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("mail.example.com", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_only_to_this_machine_a_password_goes_without_encryption(host: str, is_near: bool) -> None:
    assert near(host) is is_near
    assert "hunter2" not in repr(Post(f"smtp://me:hunter2@{host}", SENDER, BASE))


def test_mail_has_a_kind_that_this_version_works_off() -> None:
    assert HANDLERS[Kind.MAIL.value] is mail.hand_over
