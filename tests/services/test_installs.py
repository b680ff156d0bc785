"""Installations under way: I2, A37, A57, A59; what is believed when, and what one leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import select

from connector.db import Database
from connector.domain.platform import Grant, ShopDomain
from connector.models import Entry, Install, Kind, OutboxRow, Policy, Shop, ShopStatus, Sync
from connector.secrets import Vault, new_key
from connector.services import installs, policies, shops
from connector.services.installs import APPROVE_WITHIN, CHECK_WITHIN, NotUnderWay, UnderWay
from tests.services.acts import at_once, everything
from tests.world import Clock

KEYS = {"consumer_key": "CANARY-ck", "consumer_secret": "CANARY-cs", "key_id": "9"}
FACTS = {"version": "10.5.0", "currency": "EUR", "time_zone": "Europe/Amsterdam", "url": "https://shop.example"}
SHOP = ShopDomain("shop.example")
MOMENT = timedelta(seconds=1)


@pytest.fixture
def vault() -> Vault:
    return Vault.of([new_key()], new_key())


class Desk:
    """The acts of an installation, one transaction each."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.db, self.vault = database, vault

    def begin(self, address: str = "shop.example", browser: str = "kim's") -> str:
        with self.db.transaction() as session:
            return installs.start(session, "woocommerce", address, browser=browser, vault=self.vault, now=self.db.now(session))

    def paste(self, *, form: str = "form-1", address: str = "shop.example", keys: Mapping[str, str] = KEYS) -> str:
        with self.db.transaction() as session:
            return installs.start_by_hand(
                session, "woocommerce", address, keys, form=form, browser="kim's", vault=self.vault, now=self.db.now(session)
            )

    def grant(self, state: str, keys: Mapping[str, str] = KEYS, *, platform: str = "woocommerce") -> bool:
        with self.db.transaction() as session:
            grant = Grant(ShopDomain(""), keys, state=state)
            return installs.granted(session, platform, grant, vault=self.vault, now=self.db.now(session))

    def look(self, state: str) -> UnderWay:
        with self.db.reading() as session:
            return installs.under_way(session, state, vault=self.vault, now=self.db.now(session))

    def finish(self, state: str, facts: Mapping[str, str] = FACTS, shop: ShopDomain = SHOP) -> Shop:
        with self.db.transaction() as session:
            made = installs.finish(session, state, shop, facts, vault=self.vault, now=self.db.now(session))
        return self.shop(made)

    def approved(self) -> str:
        state = self.begin()
        assert self.grant(state)
        return state

    def shop(self, made: object) -> Shop:
        with self.db.reading() as session:
            return session.get_one(Shop, made)

    def keys(self, shop: Shop) -> dict[str, str]:
        with self.db.reading() as session:
            return shops.unseal(self.vault, shops.keys_of(session, shop.id))

    def rows(self, model: type[object]) -> list[object]:
        with self.db.reading() as session:
            return list(session.execute(select(model)).scalars())


@pytest.fixture
def desk(database: Database, vault: Vault) -> Desk:
    return Desk(database, vault)


# --- the state


def test_a_state_is_one_time_and_unguessable_and_only_its_digest_is_kept(database: Database, desk: Desk) -> None:
    states = {desk.begin() for _ in range(20)}

    assert len(states) == 20
    assert all(len(state[:-32]) == 32 and set(state[:-32]) <= set(_BASE64) for state in states)  # 24 random bytes
    assert not any(state in repr(everything(database)) for state in states)


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_a59_an_unknown_state_stores_nothing(database: Database, desk: Desk) -> None:
    desk.begin()
    before = everything(database)

    assert not desk.grant("a" * 64)
    assert not desk.grant("")
    assert everything(database) == before


def test_a57_a_state_is_granted_once_and_the_second_keys_change_nothing(database: Database, desk: Desk) -> None:
    state = desk.approved()
    before = everything(database)

    assert not desk.grant(state, {"consumer_key": "a stranger's", "consumer_secret": "x"})
    assert everything(database) == before
    assert desk.look(state).credentials == KEYS


def test_a57_of_many_grants_at_once_exactly_one_is_kept(desk: Desk) -> None:
    state = desk.begin()

    kept = at_once(*(lambda n=n: desk.grant(state, {"consumer_key": f"ck-{n}"}) for n in range(4)))

    assert sorted(map(str, kept)) == ["False", "False", "False", "True"]
    assert desk.look(state).credentials == {"consumer_key": f"ck-{kept.index(True)}"}


def test_an_approval_has_half_an_hour(desk: Desk, clock: Clock) -> None:
    state, late = desk.begin(), desk.begin()

    clock.advance(APPROVE_WITHIN - MOMENT)
    assert desk.grant(state)
    clock.advance(MOMENT)
    assert not desk.grant(late)


def test_a_state_of_another_platform_grants_nothing(desk: Desk) -> None:
    assert not desk.grant(desk.begin(), platform="shopify")


def test_a_check_has_a_day_in_which_the_store_can_be_mended(desk: Desk, clock: Clock) -> None:
    state = desk.approved()

    clock.advance(CHECK_WITHIN - MOMENT)
    assert desk.look(state).credentials == KEYS
    clock.advance(MOMENT)
    with pytest.raises(NotUnderWay):
        desk.look(state)
    with pytest.raises(NotUnderWay):
        desk.finish(state)
    assert desk.rows(Shop) == []


def test_a59_a_state_belongs_to_the_browser_that_began(desk: Desk, vault: Vault) -> None:
    state = desk.begin(browser="kim's")

    assert installs.is_from(state, "kim's", vault=vault)
    for stranger in ("sam's", "", "kim's "):
        assert not installs.is_from(state, stranger, vault=vault)
    for forged in ("", "x", state[:-1], state[1:], state + "0", "é" * 64):
        assert not installs.is_from(forged, "kim's", vault=vault)
    assert not installs.is_from(state[-32:], "", vault=vault)


# --- what is believed


def test_i2_nothing_is_connected_before_the_store_was_asked(database: Database, desk: Desk) -> None:
    state = desk.begin()
    with pytest.raises(NotUnderWay):
        desk.finish(state)
    desk.grant(state)

    assert desk.look(state) == UnderWay("woocommerce", "shop.example", KEYS, None)
    assert desk.rows(Shop) == desk.rows(OutboxRow) == []
    assert "CANARY" not in repr(everything(database)) + repr(desk.look(state))


def test_i2_a_finished_installation_is_a_shop_that_begins_to_be_read(desk: Desk, vault: Vault) -> None:
    shop = desk.finish(desk.approved())

    assert (shop.domain, shop.status, shop.time_zone, shop.facts) == (SHOP, ShopStatus.ACTIVE, "Europe/Amsterdam", FACTS)
    keys = desk.keys(shop)
    assert keys.items() >= (KEYS | {"url": "https://shop.example"}).items()
    assert shop.door == vault.digest("door", keys["door"])
    assert len(keys["door"]) == 32
    assert len(keys["delivery_secret"]) == 43
    assert set(keys["door"] + keys["delivery_secret"]) <= set(_BASE64)
    assert {row.kind for row in desk.rows(OutboxRow)} >= {Kind.POLL, Kind.IMPORT}  # type: ignore[attr-defined]
    assert len(desk.rows(Sync)) == 1


def test_a_shop_begins_with_a_policy_in_force_today(desk: Desk, database: Database) -> None:
    shop = desk.finish(desk.approved())

    with database.reading() as session:
        _, terms = policies.in_force(session, shop.id, database.now(session).date())
    assert terms.window.days == 30


def test_a_connection_is_told_in_the_timeline_once(desk: Desk) -> None:
    state = desk.approved()
    desk.finish(state)
    desk.finish(state)

    told = [(entry.what, entry.who) for entry in desk.rows(Entry)]  # type: ignore[attr-defined]
    assert told == [("shop.connected", "merchant")]


def test_a_finished_state_is_used_up_and_its_keys_are_gone(database: Database, desk: Desk) -> None:
    state = desk.approved()
    shop = desk.finish(state)

    assert desk.look(state) == UnderWay("woocommerce", "shop.example", None, shop.id)
    assert not desk.grant(state, {"consumer_key": "a stranger's"})
    with database.reading() as session:
        assert session.execute(select(Install.grant)).scalar_one() is None


def test_a_double_click_connects_once(desk: Desk) -> None:
    state = desk.approved()

    made = at_once(*(lambda: desk.finish(state) for _ in range(3)))

    assert len({shop.id for shop in made if isinstance(shop, Shop)}) == 1
    assert all(isinstance(shop, Shop) for shop in made)
    assert len(desk.rows(Entry)) == len(desk.rows(Policy)) == len(desk.rows(Sync)) == 1
    assert len([row for row in desk.rows(OutboxRow) if row.kind == Kind.IMPORT]) == 1  # type: ignore[attr-defined]


# --- by hand


def test_the_same_form_with_the_same_keys_is_one_installation(desk: Desk) -> None:
    first, again = desk.paste(), desk.paste()
    others = {desk.paste(form="form-2"), desk.paste(address="other.example"), desk.paste(keys=KEYS | {"consumer_secret": "new"})}

    assert first == again
    assert len(others | {first}) == 4
    assert desk.look(first).credentials == KEYS
    assert installs.is_from(first, "kim's", vault=desk.vault)
    assert desk.finish(first).domain == SHOP


def test_an_operator_connects_a_shop_without_a_state(database: Database, desk: Desk) -> None:
    with database.transaction() as session:
        made = installs.connect(session, "woocommerce", SHOP, KEYS, FACTS, vault=desk.vault, who="operator", now=database.now(session))

    assert desk.shop(made).domain == SHOP
    assert [(entry.what, entry.who) for entry in desk.rows(Entry)] == [("shop.connected", "operator")]  # type: ignore[attr-defined]


# --- again


def test_a_reconnect_keeps_the_door_and_the_secret_and_takes_the_new_keys(desk: Desk, database: Database) -> None:
    shop = desk.finish(desk.approved())
    before = desk.keys(shop)
    with database.transaction() as session:
        shops.revoke(session, shop.id, used_since=database.now(session))
    state = desk.begin()
    desk.grant(state, {"consumer_key": "ck-new", "consumer_secret": "cs-new"})

    again = desk.finish(state)

    after = desk.keys(again)
    assert (again.id, again.status, again.door) == (shop.id, ShopStatus.ACTIVE, shop.door)
    assert {name: after[name] for name in ("door", "delivery_secret")} == {name: before[name] for name in ("door", "delivery_secret")}
    assert (after["consumer_key"], after.get("key_id")) == ("ck-new", None)
    assert len(desk.rows(Policy)) == 1


WWW = ShopDomain("www.shop.example")


def probed_at(host: str) -> dict[str, str]:
    return FACTS | {"url": f"https://{host}"}


def test_a_store_that_calls_itself_otherwise_by_now_is_the_shop_that_it_was(desk: Desk, database: Database) -> None:
    """It was connected as www.shop.example, and its daily probe has ended at shop.example since."""
    first = desk.finish(desk.approved(), probed_at(WWW), WWW)
    with database.transaction() as session:
        now = database.now(session)
        shops.heal(session, first.id, probed_at(SHOP), used_since=now, now=now)
    before = desk.keys(first)

    again = desk.finish(desk.approved(), probed_at(SHOP), SHOP)

    assert (again.id, again.domain, again.facts) == (first.id, WWW, probed_at(SHOP))
    assert [desk.keys(again)[name] for name in ("door", "delivery_secret")] == [before[name] for name in ("door", "delivery_secret")]
    assert len(desk.rows(Shop)) == len(desk.rows(Policy)) == 1


def test_a59_a_store_at_the_same_name_with_www_is_another_one_until_both_were_asked_at_one_address(desk: Desk) -> None:
    first = desk.finish(desk.approved(), probed_at(WWW), WWW)

    other = desk.finish(desk.approved(), probed_at(SHOP), SHOP)
    nowhere = {name: value for name, value in FACTS.items() if name != "url"}

    assert (other.id != first.id, other.domain) == (True, SHOP)
    assert desk.finish(desk.approved(), nowhere, SHOP).id == other.id
    assert len(desk.rows(Shop)) == 2


@pytest.mark.parametrize("leaves", [WWW, SHOP])
def test_of_two_names_of_one_store_the_one_that_is_connected_goes_on(desk: Desk, database: Database, leaves: ShopDomain) -> None:
    stays = SHOP if leaves == WWW else WWW
    two = {domain: desk.finish(desk.approved(), probed_at(domain), domain) for domain in (WWW, SHOP)}
    with database.transaction() as session:
        shops.uninstall(session, two[leaves].id, who="merchant", now=database.now(session))
        session.get_one(Shop, two[stays].id).facts = probed_at(SHOP)

    assert desk.finish(desk.approved(), probed_at(SHOP), SHOP).id == two[stays].id


def test_a59_a_grant_brings_no_door_no_secret_and_no_address_of_its_own(desk: Desk) -> None:
    state = desk.begin()
    desk.grant(state, KEYS | {"door": "mine", "delivery_secret": "known", "url": "https://evil.example"})

    assert desk.look(state).credentials == KEYS
    keys = desk.keys(desk.finish(state))

    assert keys["door"] != "mine"
    assert keys["delivery_secret"] != "known"
    assert keys["url"] == FACTS["url"]


def test_a_secret_in_rotation_outlives_a_reconnect(desk: Desk, database: Database) -> None:
    shop = desk.finish(desk.approved())
    with database.transaction() as session:
        row = session.get_one(Shop, shop.id)
        row.credentials = shops.seal(desk.vault, shop.id, desk.keys(shop) | {"delivery_secret_before": "old"})

    assert desk.keys(desk.finish(desk.approved()))["delivery_secret_before"] == "old"


def test_a_shop_whose_key_was_lost_can_be_connected_anew(desk: Desk, database: Database) -> None:
    shop = desk.finish(desk.approved())
    with database.transaction() as session:
        session.get_one(Shop, shop.id).credentials = Vault.of([new_key()], new_key()).encrypt("credentials", shop.id.hex, json.dumps({}))

    again = desk.finish(desk.approved())

    assert again.id == shop.id
    assert desk.keys(again)["consumer_key"] == KEYS["consumer_key"]
    assert again.door == desk.vault.digest("door", desk.keys(again)["door"])


@pytest.mark.parametrize("name", ["", "UTC+02:00", "Mars/Olympus", "../../etc/passwd", "Europe", "a" * 300])
def test_a_time_zone_that_nobody_knows_becomes_utc(desk: Desk, name: str) -> None:
    assert desk.finish(desk.approved(), {"time_zone": name}).time_zone == "UTC"


def test_a_policy_is_in_force_on_the_day_of_the_shop(desk: Desk, database: Database) -> None:
    shop = desk.finish(desk.approved(), {"time_zone": "Pacific/Pago_Pago"})  # START is 9 o'clock in UTC: still yesterday there

    with database.reading() as session:
        policies.in_force(session, shop.id, database.now(session).date() - timedelta(days=1))
