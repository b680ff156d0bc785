"""`retour staff`: who works at a desk, as an operator sees it (D1, A61, A71)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from connector import migrate, wiring
from connector.cli import main
from connector.config import Settings
from connector.db import Database
from connector.domain.platform import ShopDomain
from connector.models import Mail, Role
from connector.secrets import new_key
from connector.services import policies, shops, staff
from tests.world import POLICY

SHOP, KIM = "shop.example", "kim@example.com"


class Terminal:
    """An operator's terminal beside one shop."""

    def __init__(self, url: str, directory: Path) -> None:
        self.env = {
            "RETOUR_DATA": str(directory / "data"),
            "DATABASE_URL": url,
            "RETOUR_SECRET_KEYS": new_key(),
            "RETOUR_DIGEST_KEY": new_key(),
            "RETOUR_SEAL_KEY": new_key(),
            "RETOUR_DEV": "1",
            "REDIS_URL": f"unix://{directory / 'nobody.sock'}",
        }
        self.settings = Settings.from_env(self.env)
        self.vault, self.database = wiring.vault(self.settings), Database(url)
        migrate.to(self.database)
        with self.database.transaction() as session:
            now, domain = self.database.now(session), ShopDomain(SHOP)
            shop = shops.connect(session, platform="toy", domain=domain, credentials={}, vault=self.vault, time_zone="UTC", now=now)
            policies.publish(session, shop, POLICY, effective_from=date(2026, 1, 1), who="owner", now=now)
            self.shop = shop

    def retour(self, *words: str, **env: str) -> Result:
        return CliRunner(env=self.env | env).invoke(main, ["staff", *words])

    def roles(self) -> list[Role]:
        with self.database.reading() as session:
            return [member.role for member in staff.of(session, self.shop, vault=self.vault)]


@pytest.fixture
def terminal(database_url: str, tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(database_url, tmp_path)
    yield found
    found.database.dispose()


def test_d1_an_invitation_prints_a_link_that_signs_in_where_no_mail_goes_out(terminal: Terminal) -> None:
    told = terminal.retour("invite", SHOP, KIM, "--role", "money")

    assert told.exit_code == 0, told.output
    found = re.search(r"http\S+", told.output)
    assert found
    address = urlsplit(found[0])
    assert address.path == "/desk/shop-example/enter"
    assert KIM not in told.output
    with terminal.database.transaction() as session:
        secret = parse_qs(address.query)["link"][0]
        member = staff.redeem(session, terminal.shop, secret, vault=terminal.vault, now=terminal.database.now(session))
    assert member
    assert (member.email, member.role) == (KIM, Role.MONEY)


def test_d1_where_there_is_a_mail_server_the_link_goes_by_mail_and_is_not_printed(terminal: Terminal) -> None:
    told = terminal.retour("invite", SHOP, KIM, SMTP_URL="smtp://127.0.0.1:9", MAIL_FROM="desk@example.com")

    assert told.exit_code == 0, told.output
    assert "enter?link=" not in told.output
    assert "/desk/shop-example" in told.output
    with terminal.database.reading() as session:
        assert session.execute(select(Mail.event)).scalars().all() == ["sign_in"]
    shown = terminal.retour("invite", SHOP, KIM, "--print-link", SMTP_URL="smtp://127.0.0.1:9", MAIL_FROM="desk@example.com")
    assert "enter?link=" in shown.output


def test_a_second_invitation_changes_the_role_of_the_same_person(terminal: Terminal) -> None:
    terminal.retour("invite", SHOP, KIM)
    terminal.retour("invite", SHOP, "KIM@example.com", "--role", "view")
    assert terminal.roles() == [Role.VIEW]


def test_a71_the_list_names_nobody_in_full(terminal: Terminal) -> None:
    assert "Nobody works at the desk" in terminal.retour("list", SHOP).output
    terminal.retour("invite", SHOP, KIM, "--role", "settings")

    told = terminal.retour("list", SHOP).output

    assert "k…@example.com: settings (do everything), since " in told
    assert KIM not in told


def test_a61_who_is_removed_is_gone(terminal: Terminal) -> None:
    terminal.retour("invite", SHOP, KIM)
    told = terminal.retour("remove", SHOP, KIM)
    assert told.exit_code == 0, told.output
    assert "Removed: k…@example.com." in told.output
    assert terminal.roles() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("invite", "other.example", KIM), "`retour shop list` names them"),
        (("invite", SHOP, "kim"), "type an e-mail address"),
        (("invite", SHOP, KIM, "--role", "king"), "'king' is not one of"),
        (("remove", SHOP, KIM), "`retour staff list shop.example` shows who does"),
        (("list", "other.example"), "no connected shop is called"),
    ],
    ids=["stranger's shop", "no address", "no role", "not staff", "no shop"],
)
def test_what_goes_wrong_says_what_to_do(terminal: Terminal, words: tuple[str, ...], told: str) -> None:
    answer = terminal.retour(*words)
    assert answer.exit_code != 0
    assert told in answer.output
