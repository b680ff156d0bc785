"""What an operator asks and does: `retour doctor` and `retour shop`, against a simulated WooCommerce shop over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update

from adapters.simulators.woocommerce import WooShop
from adapters.woocommerce.deliveries import TOPICS
from connector import migrate, operate, revisions, wiring
from connector.cli import main
from connector.config import Settings
from connector.db import Database
from connector.domain.connecting import Misfortune
from connector.misfortunes import sentence
from connector.models import Alarm, AlarmKind, Entry, HintRow, OutboxRow, Shop, ShopStatus, Sync
from connector.secrets import Vault, new_key
from connector.services import shops, syncing
from tests.adapters import far
from tests.adapters.far import http
from tests.servers import Valkey

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(slots=True)
class Desk:
    """An operator's terminal, with the environment of one installation."""

    database: Database
    env: dict[str, str]
    vault: Vault = field(repr=False)

    def retour(self, *words: str, typed: str = "", color: bool = False, **env: str) -> Result:
        """One command; `typed` is what is typed when it asks."""
        return CliRunner(env=self.env | env).invoke(main, list(words), input=typed, color=color)

    def doctor(self, **env: str) -> tuple[int, list[str]]:
        """The exit code, and the lines."""
        told = CliRunner(env=self.env | env).invoke(main, ["doctor"])
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        return told.exit_code, told.output.splitlines()

    def shop(self) -> Shop:
        with self.database.reading() as session:
            return session.execute(select(Shop)).scalar_one()

    def now(self) -> datetime:
        with self.database.reading() as session:
            return self.database.now(session)


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    database = Database(database_url)
    migrate.to(database)
    secret, digest = new_key(), new_key()
    env = {
        "RETOUR_DATA": str(tmp_path / "data"),
        "DATABASE_URL": database_url,
        "RETOUR_SECRET_KEYS": secret,
        "RETOUR_DIGEST_KEY": digest,
        "RETOUR_SEAL_KEY": new_key(),
        "RETOUR_DEV": "1",
        "REDIS_URL": f"unix://{tmp_path / 'nobody.sock'}",
    }
    yield Desk(database, env, Vault.of([secret], digest))
    database.dispose()


@pytest.fixture
def woo() -> Iterator[WooShop]:
    shop = WooShop(":memory:")
    with shop.serving():
        yield shop
    shop.close()


def connect(desk: Desk, woo: WooShop, *, secret: str = "") -> Result:
    key, real = woo.add_key()
    return desk.retour("shop", "connect", woo.url, "--key", key, typed=f"{secret or real}\n")


@pytest.fixture
def connected(desk: Desk, woo: WooShop) -> Desk:
    told = connect(desk, woo)
    assert told.exit_code == 0, told.output
    return desk


def well(desk: Desk, **standing: object) -> None:
    """As if workers had done their work; and what is to be different."""
    now = desk.now()
    fine: dict[str, object] = {
        "polled_at": now,
        "deliveries_ok": True,
        "imported": 1200,
        "imported_until": datetime(2025, 11, 3, tzinfo=UTC),
    }
    with desk.database.transaction() as session:
        session.execute(update(Sync).values(**(fine | standing)))
        session.execute(update(OutboxRow).values(done_at=now))


# ── Connect, list, disconnect ──


def test_i2_an_operator_connects_a_store_with_keys_made_by_hand(desk: Desk, woo: WooShop) -> None:
    told = connect(desk, woo)

    assert told.exit_code == 0, told.output
    shop = desk.shop()
    assert f"Connected: {shop.domain} (10.5.0, EUR)." in told.output
    assert (shop.status, (shop.facts or {})["version"]) == (ShopStatus.ACTIVE, "10.5.0")
    with desk.database.reading() as session:
        assert set(session.execute(select(OutboxRow.kind)).scalars()) == {"poll", "import"}
        assert "operator" in set(session.execute(select(Entry.who)).scalars())
    assert f"{shop.domain} (woocommerce): active" in desk.retour("shop", "list").output


def test_a_store_that_is_connected_again_under_another_address_is_the_same_shop(connected: Desk, woo: WooShop) -> None:
    key, secret = woo.add_key()
    with far.serving(http(status="301 Moved", location=f"{woo.url}/wp-json/")) as old:
        told = connected.retour("shop", "connect", f"http://127.0.0.1:{old.port}", "--key", key, typed=f"{secret}\n")

    assert f"Connected: {urlsplit(woo.url).netloc} (10.5.0, EUR)." in told.output
    shop = connected.shop()  # the only one
    with connected.database.reading() as session:
        assert shops.unseal(connected.vault, shops.keys_of(session, shop.id))["consumer_key"] == key


def test_a71_the_secret_is_asked_for_and_shown_nowhere(desk: Desk, woo: WooShop) -> None:
    key, secret = woo.add_key()

    told = desk.retour("shop", "connect", woo.url, "--key", key, typed=f"{secret}\n")

    assert secret not in told.output
    assert secret not in desk.retour("shop", "list").output + desk.retour("doctor").output
    assert "--secret" not in desk.retour("shop", "connect", "--help").output


def test_a59_keys_that_are_wrong_connect_nothing_and_the_sentence_says_what_to_do(desk: Desk, woo: WooShop) -> None:
    told = connect(desk, woo, secret="cs_" + "0" * 40)

    assert told.exit_code == 1
    assert told.output.endswith(f"Error: {sentence(Misfortune.WRONG_KEYS)}\n")
    with desk.database.reading() as session:
        assert session.execute(select(Shop)).all() == []


def test_an_address_that_is_none_is_refused_before_the_secret_is_asked_for(desk: Desk) -> None:
    told = desk.retour("shop", "connect", "no address", "--key", "ck_x")

    assert told.exit_code == 1
    assert "secret" not in told.output
    assert sentence(Misfortune.BAD_ADDRESS) in told.output


def test_a_platform_that_is_not_served_is_named(desk: Desk) -> None:
    told = desk.retour("shop", "connect", "shop.example", "--platform", "magento", "--key", "ck_x")

    assert told.exit_code == 2
    assert "there is woocommerce" in told.output


def test_i4_disconnecting_takes_our_webhooks_away_and_ends_all_work(connected: Desk, woo: WooShop) -> None:
    with connected.database.reading() as session:
        keys = shops.keys_of(session, connected.shop().id)
    store = wiring.opener(Settings.from_env(connected.env))(keys)
    store.ensure_webhooks("http://127.0.0.1:8000")
    assert len(woo.webhooks()) == len(TOPICS)

    told = connected.retour("shop", "disconnect", keys.domain, typed="y\n")

    assert told.exit_code == 0, told.output
    assert "The store sends nothing to us any more." in told.output
    assert woo.webhooks() == []
    assert (connected.shop().status, connected.shop().credentials) == (ShopStatus.UNINSTALLED, b"")
    assert f"{keys.domain} (woocommerce): disconnected, its history is kept for 48 hours" in connected.retour("shop", "list").output


def test_i4_a_store_that_cannot_be_told_is_disconnected_all_the_same(connected: Desk, woo: WooShop) -> None:
    domain = connected.shop().domain
    with connected.database.reading() as session:
        woo.revoke(shops.unseal(connected.vault, shops.keys_of(session, connected.shop().id))["consumer_key"])

    told = connected.retour("shop", "disconnect", domain, "--yes")

    assert told.exit_code == 0, told.output
    assert "The store could not be told" in told.output
    assert connected.shop().status is ShopStatus.UNINSTALLED


def test_nothing_is_disconnected_by_mistake(connected: Desk) -> None:
    domain = connected.shop().domain

    declined = connected.retour("shop", "disconnect", domain, typed="n\n")
    unknown = connected.retour("shop", "disconnect", "other.example", "--yes")

    assert (declined.exit_code, unknown.exit_code) == (1, 1)
    assert "no connected shop is called 'other.example'" in unknown.output
    assert connected.shop().status is ShopStatus.ACTIVE
    connected.retour("shop", "disconnect", domain, "--yes")
    assert "no connected shop" in connected.retour("shop", "disconnect", domain, "--yes").output


def test_commands_that_need_a_database_name_the_command_that_makes_one(tmp_path: Path) -> None:
    env = {"RETOUR_DATA": str(tmp_path), "RETOUR_DEV": "1"}
    for words in (["shop", "list"], ["shop", "disconnect", "x"], ["shop", "connect", "http://127.0.0.1", "--key", "ck_x"]):
        told = CliRunner(env=env).invoke(main, words)

        assert told.exit_code == 1
        assert "run `retour migrate` first" in told.output


# ── Doctor ──


def test_a_fresh_installation_is_well_and_says_what_comes_next(desk: Desk) -> None:
    code, lines = desk.doctor()

    assert code == 0
    assert [line[:2] for line in lines] == [" !", " !", " !", "ok", "ok", "ok"]
    assert "DEVELOPMENT at http://127.0.0.1:8000" in lines[0]
    assert "Unset RETOUR_DEV" in lines[0]
    assert "Redis does not answer, which loses nothing" in lines[1]
    assert "SMTP_URL is not set" in lines[2]
    assert lines[3] == f"ok database: {desk.database.dialect} {where(desk)}, at {revisions.newest()}"
    assert lines[4:] == [
        "ok work: nothing is to be done",
        "ok shops: none is connected; `retour shop connect` or /install/woocommerce connects one",
    ]


def where(desk: Desk) -> str:
    return " ".join(part for part in (desk.database.url.host, desk.database.url.database) if part)


def test_development_is_red(desk: Desk) -> None:
    assert desk.retour("doctor", color=True).output.startswith("\x1b[31m")


def test_a_redis_that_answers_is_said(desk: Desk, valkey_server: Valkey) -> None:
    assert "ok Redis answers" in desk.doctor(REDIS_URL=valkey_server.url)[1]


def test_an_address_that_no_store_can_reach_is_wrong_in_production(desk: Desk) -> None:
    code, lines = desk.doctor(RETOUR_DEV="0")
    assert code == 1
    assert lines[0].startswith("!! settings: our address is http://127.0.0.1:8000: no store can reach it")

    code, lines = desk.doctor(RETOUR_DEV="0", BASE_URL="https://returns.example.com")
    assert (code, lines[0]) == (0, "ok settings: production, our address is https://returns.example.com")


def test_a_database_that_was_not_migrated_or_is_away_is_named_without_its_password(desk: Desk, tmp_path: Path) -> None:
    migrate.back(desk.database)
    code, lines = desk.doctor()
    assert code == 1
    assert lines[-1].endswith("it is at nothing; run `retour migrate`")
    migrate.to(desk.database)

    code, lines = desk.doctor(DATABASE_URL="postgresql://kim:hidden@127.0.0.1:1/retour")

    assert code == 1
    assert "it cannot be used" in lines[-1]
    assert "hidden" not in "".join(lines)


def test_a_shop_that_is_well_is_one_line_with_all_that_counts(connected: Desk) -> None:
    well(connected)

    code, lines = connected.doctor()

    assert code == 0, lines
    assert lines[-1] == (
        f"ok shop: {connected.shop().domain} (woocommerce): active, polled 0 seconds ago, deliveries on, 0 hints waiting, "
        "1,200 orders imported, back to 2025-11-03, time zone Europe/Amsterdam"
    )


def test_w7_an_import_that_is_done_says_so(connected: Desk) -> None:
    well(connected, import_done_at=connected.now())

    assert "1,200 orders imported, all of its history" in connected.doctor()[1][-1]


def test_i2_a_shop_in_trouble_is_told_with_the_sentence_that_says_what_to_do(connected: Desk) -> None:
    well(connected)
    with connected.database.transaction() as session:
        now = connected.database.now(session)
        syncing.unwell(session, connected.shop().id, Misfortune.OTHER_STORE, "https://other.example", began=now, now=now)

    code, lines = connected.doctor()

    assert code == 1
    assert lines[-1].startswith("!! shop: ")
    assert lines[-1].endswith(sentence(Misfortune.OTHER_STORE, "https://other.example"))


@pytest.mark.parametrize(
    ("wrong", "todo"),
    [
        ({"deliveries_ok": False}, "Its webhooks are off and could not be mended"),
        ({"polled_at": datetime(2026, 1, 1, tzinfo=UTC)}, "It is not polled: start `retour run`"),
        ({"polled_at": None, "poll_at": datetime(2026, 1, 1, tzinfo=UTC)}, "It is not polled: start `retour run`"),
    ],
)
def test_f38_what_a_person_has_to_see_to_is_said(connected: Desk, wrong: dict[str, object], todo: str) -> None:
    well(connected, **wrong)

    code, lines = connected.doctor()

    assert code == 1
    assert todo in lines[-1]


@pytest.mark.parametrize(
    ("standing", "todo"),
    [
        ({"status": ShopStatus.REVOKED}, "The store refused our keys"),
        ({"trouble": "struck_by_lightning"}, "The last probe found struck_by_lightning"),
    ],
)
def test_a_shop_that_cannot_be_asked_is_said(connected: Desk, standing: dict[str, object], todo: str) -> None:
    well(connected)
    with connected.database.transaction() as session:
        session.execute(update(Shop).values(**standing))

    code, lines = connected.doctor()

    assert code == 1
    assert todo in lines[-1]


def test_a_shop_that_asked_for_a_pause_is_no_trouble(connected: Desk) -> None:
    well(connected, deliveries_ok=None, deliveries_mended=2)
    with connected.database.transaction() as session:
        session.execute(update(Shop).values(paused_until=connected.now() + 90 * MINUTE))

    code, lines = connected.doctor()

    assert code == 0
    assert "asked us to wait 1 hour, polled" in lines[-1]
    assert "deliveries not looked after yet" in lines[-1]


def test_hints_poison_and_alarms_are_counted(connected: Desk) -> None:
    well(connected)
    shop, now = connected.shop().id, connected.now()
    with connected.database.transaction() as session:
        session.add_all([HintRow(shop_id=shop, topic="order.updated", digest=bytes([n]) * 32, received_at=now) for n in range(3)])
        session.add(HintRow(shop_id=shop, topic="x", digest=b"p" * 32, received_at=now, taken_at=now, poisoned_at=now))
        session.add(Alarm(shop_id=shop, kind=AlarmKind.DELIVERIES_OFF, subject="deliveries", facts=b"{}", raised_at=now))
        session.add(Alarm(shop_id=shop, kind=AlarmKind.POISONED, subject="x", facts=b"{}", raised_at=now, cleared_at=now, cleared_by="sam"))

    code, lines = connected.doctor()

    assert code == 1
    assert "3 hints waiting" in lines[-1]
    assert "1 of its deliveries could not be read" in lines[-1]
    assert "1 alarm stands" in lines[-1]


def test_work_is_counted_by_kind_and_what_nobody_begins_is_wrong(connected: Desk) -> None:
    well(connected)
    shop, now = connected.shop().id, connected.now()
    with connected.database.transaction() as session:
        for kind, more in (
            ("mirror", {"available_at": now - 2 * MINUTE}),
            ("mirror", {"available_at": now + HOUR, "attempts": 3}),
            ("poll", {"available_at": now - HOUR}),
            ("settle", {"available_at": now, "parked_at": now, "parked_because": "outcome_unknown"}),
        ):
            session.add(OutboxRow(shop_id=shop, kind=kind, subject_id=shop, put_at=now, **more))

    code, lines = connected.doctor()

    work = [line for line in lines if "work:" in line]
    assert code == 1
    assert work[0] == "ok work: mirror: 1 due, 1 later, 1 failing and tried again; the oldest is due for 2 minutes"
    assert work[1].startswith("!! work: poll: 1 due; the oldest is due for 1 hour: nobody works it off; start `retour run`")
    assert work[2].startswith("!! work: settle: 1 parked: a person has to look")


def test_what_waits_for_a_shop_that_may_not_be_called_is_held_and_of_one_that_left_nothing_is_told(connected: Desk) -> None:
    well(connected)
    shop, now = connected.shop().id, connected.now()
    with connected.database.transaction() as session:
        for kind in ("mirror", "probe", "redact"):
            session.add(OutboxRow(shop_id=shop, kind=kind, subject_id=shop, put_at=now, available_at=now))
        session.execute(update(Shop).values(status=ShopStatus.REVOKED))

    held = [line for line in connected.doctor()[1] if "work:" in line]
    assert held[0] == "ok work: mirror: 1 held for a shop that may not be called now"
    assert held[1].startswith("ok work: probe: 1 due")
    with connected.database.transaction() as session:
        session.execute(update(Shop).values(status=ShopStatus.UNINSTALLED, redacted_at=now))

    lines = connected.doctor()[1]
    assert [line.split(":")[1] for line in lines if "work:" in line] == [" redact"]
    assert lines[-1].endswith("disconnected, its persons are forgotten")


def test_a_shop_of_an_older_version_is_told_to_be_connected_again(desk: Desk) -> None:
    with desk.database.transaction() as session:
        shops.connect(
            session,
            platform="woocommerce",
            domain=wiring.platforms(Settings.from_env(desk.env))["woocommerce"].shop_at("http://127.0.0.1:1"),
            credentials={},
            vault=desk.vault,
            time_zone="UTC",
            now=desk.now(),
        )

    assert "connect it again" in desk.doctor()[1][-1]


@pytest.mark.parametrize(
    ("time", "told"),
    [
        (timedelta(0), "0 seconds"),
        (timedelta(seconds=-5), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=119), "1 minute"),
        (2 * HOUR, "2 hours"),
        (1234 * DAY, "1,234 days"),
    ],
)
def test_times_are_told_in_their_largest_unit(time: timedelta, told: str) -> None:
    assert operate._lasting(time) == told


def test_credentials_that_no_key_opens_are_said_with_what_to_do(connected: Desk) -> None:
    well(connected)

    code, lines = connected.doctor(RETOUR_SECRET_KEYS=new_key())

    assert code == 1
    assert "No key of RETOUR_SECRET_KEYS opens its credentials: put the earlier key back" in lines[-1]
