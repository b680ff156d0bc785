"""Installations: I3, I4; what a reinstall finds, and what revoked keys stop."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import NoResultFound

from connector.db import Database
from connector.domain.platform import ShopDomain
from connector.models import Rma, Shop, ShopStatus
from connector.secrets import Misplaced, NoKeyOpens, Vault, new_key
from connector.services import outbox, shops
from connector.services.shops import ShopKeys, keys_of, unseal
from tests.services.acts import at_once, everything, placed
from tests.world import START, World, an_order

SECRET = {"key": "CANARY-ck", "secret": "CANARY-cs"}


def installed(database: Database, vault: Vault, *, domain: str = "shop.example", platform: str = "toy", zone: str = "UTC") -> ShopKeys:
    with database.transaction() as session:
        shop = shops.connect(
            session, platform=platform, domain=ShopDomain(domain), credentials=SECRET, vault=vault, time_zone=zone, now=START
        )
        return keys_of(session, shop)


@pytest.fixture
def vault() -> Vault:
    return Vault.of([new_key()], new_key())


def shop_row(database: Database, shop: uuid.UUID) -> Shop:
    with database.reading() as session:
        return session.get_one(Shop, shop)


def test_i3_credentials_are_kept_as_ciphertext_and_never_printed(database: Database, vault: Vault) -> None:
    keys = installed(database, vault)

    assert unseal(vault, keys) == SECRET
    assert "CANARY" not in repr(everything(database)) + repr(keys)
    assert "credentials" not in repr(keys)


def test_i3_credentials_open_only_with_their_key_and_for_their_shop(database: Database, vault: Vault) -> None:
    keys = installed(database, vault)
    other = installed(database, vault, domain="other.example")

    with pytest.raises(NoKeyOpens):
        unseal(Vault.of([new_key()], new_key()), keys)
    with pytest.raises(Misplaced):
        unseal(vault, ShopKeys(other.id, other.platform, other.domain, other.time_zone, keys.credentials))


@pytest.mark.parametrize("status", ShopStatus)
def test_i4_connecting_again_finds_the_same_shop_with_its_history_and_works_at_once(world: World, status: ShopStatus) -> None:
    rma = world.requested(placed(world, an_order()), {"line-1": 1})
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).status = status
        outbox.pause(session, world.shop.id, wait=timedelta(minutes=5), now=START)

    again = installed(world.db, world.vault, domain=world.shop.domain, zone="Europe/Paris")

    row = shop_row(world.db, world.shop.id)
    assert again.id == world.shop.id
    assert (row.status, row.paused_until, row.time_zone) == (ShopStatus.ACTIVE, None, "Europe/Paris")
    assert unseal(world.vault, again) == SECRET
    with world.db.reading() as session:
        assert session.get_one(Rma, rma).shop_id == again.id
        assert session.execute(select(func.count()).select_from(Shop)).scalar_one() == 1


def test_one_domain_on_two_platforms_is_two_shops(database: Database, vault: Vault) -> None:
    assert installed(database, vault).id != installed(database, vault, platform="other").id


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (ShopStatus.ACTIVE, ShopStatus.REVOKED),
        (ShopStatus.REVOKED, ShopStatus.REVOKED),
        (ShopStatus.UNINSTALLED, ShopStatus.UNINSTALLED),
    ],
)
def test_f27_refused_keys_stop_an_active_shop_and_delete_nothing(world: World, status: ShopStatus, then: ShopStatus) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).status = status
    before = everything(world.db)

    with world.db.transaction() as session:
        assert shops.revoke(session, world.shop.id, used_since=START) is (status is ShopStatus.ACTIVE)

    after = everything(world.db)
    assert after.pop("shops")[0] | {"status": status} == before.pop("shops")[0]
    assert after == before
    assert shop_row(world.db, world.shop.id).status is then


def test_a_shop_that_is_not_there_has_no_keys(database: Database) -> None:
    with pytest.raises(NoResultFound), database.reading() as session:
        keys_of(session, uuid.uuid4())


def test_i2_a_shop_that_is_connected_twice_at_once_is_one_shop(database: Database, vault: Vault) -> None:
    """The merchant's browser comes back, and the platform calls us, at the same instant."""
    made = at_once(*[lambda: installed(database, vault).id] * 4)

    assert len(set(made)) == 1
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(Shop)).scalar_one() == 1
    assert unseal(vault, installed(database, vault)) == SECRET


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Atelier Nord", "Atelier Nord"),
        (" Atelier\r\nNord\u2028& Söhne\t", "Atelier Nord & Söhne"),
        ("Nord\x00\u202e\ud800 \u200b Süd", "Nord Süd"),
        ("\n\u200b", "shop.example"),
        ("", "shop.example"),
    ],
)
def test_a41_what_a_shop_calls_itself_is_one_line_that_can_be_printed(name: str, shown: str) -> None:
    shop = Shop(platform="toy", domain="shop.example", facts={"name": name})

    assert shops.called(shop) == shown
