"""Start everything, connect the shop once, say where to click, and stop it all when told to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
from sqlalchemy import func, select

from connector import links, migrate, wiring
from connector.config import Settings
from connector.db import Database
from connector.demo import DemoFailed, merchant, ports, wares
from connector.demo.ports import Ports
from connector.embedded import Valkey
from connector.models import OrderRow, Role, Shop
from connector.secrets import Vault
from connector.services import staff
from connector.signals import StopSignals
from connector.supervisor import Child, Supervisor

_PATIENCE: Final = 120.0  # seconds for each step of the first start, on a slow machine
_STAFF: Final = "sam@example.com"


class Stopped(Exception):
    """Somebody wants to stop before it was up."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What the steps of a start share."""

    settings: Settings
    database: Database
    vault: Vault
    ports: Ports
    signals: StopSignals

    def until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait for it. Raises `DemoFailed`, `Stopped`."""
        late = time.monotonic() + _PATIENCE
        while not done():
            if self.signals.wait(0.2):
                raise Stopped
            if time.monotonic() > late:
                raise DemoFailed(f"waited {_PATIENCE:.0f} s for {what}; {self.settings.data_dir / 'demo.log'} says more")

    @property
    def shop_url(self) -> str:
        """Where the simulated shop is."""
        return f"http://127.0.0.1:{self.ports.shop}"


def play(data: Path, environ: Mapping[str, str], say: Callable[[str], object]) -> None:
    """Run the demo of a directory until told to stop. Raises `DemoFailed`, `Misconfigured`, `AlreadyRunning`."""
    chosen = ports.chosen(data, environ)
    ours = _environ(data, chosen, environ)
    settings = Settings.from_env(ours)
    vault, database = wiring.vault(settings), wiring.database(settings)
    migrate.to(database)
    supervisor = Supervisor(data, _children(data, chosen), ours, grace=10.0)
    with StopSignals() as signals, _errors_to(data / "demo.log"), supervisor:
        stage = Stage(settings, database, vault, chosen, signals)
        try:
            link = _open(stage)
        except Stopped:
            return
        say(_where(stage, link))
        while not signals.wait(60):
            pass
        say("\nStopping. What was clicked is kept; the next start finds it.")
    database.dispose()


def _environ(data: Path, chosen: Ports, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process: nothing of a real installation gets in."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("RETOUR_", "SMTP_", "MAIL_"))}
    kept = {name: value for name, value in kept.items() if name not in {"DATABASE_URL", "REDIS_URL", "BASE_URL", "HOST", "PORT"}}
    return kept | {
        "RETOUR_DATA": str(data),
        "RETOUR_DEV": "1",
        "HOST": "127.0.0.1",
        "PORT": str(chosen.web),
        "BASE_URL": f"http://127.0.0.1:{chosen.web}",
        "REDIS_URL": Valkey(data).url,
        "SMTP_URL": f"smtp://127.0.0.1:{chosen.smtp}",
        "MAIL_FROM": "returns@retour.example",
    }


def _children(data: Path, chosen: Ports) -> list[Child]:
    def ours(*module: str) -> list[str]:
        return [sys.executable, "-m", *module]

    shop = ours("connector.demo.shop", str(chosen.shop), str(data / "shop.sqlite"))
    box = ours("connector.demo.mailbox", str(chosen.smtp), str(chosen.mail), str(data / "mail"))
    return [
        Valkey(data).child(),
        Child("shop", shop, answers=lambda: ports.answers(chosen.shop)),
        Child("mailbox", box, answers=lambda: ports.answers(chosen.mail) and ports.answers(chosen.smtp)),
        Child("web", ours("connector.web.server")),
        Child("worker", ours("jobs", "worker")),
        Child("clock", ours("jobs", "clock")),
    ]


def _open(stage: Stage) -> str:
    """Connect the shop, once, and wait for its orders. Gives a fresh link for the merchant."""
    ready = f"{stage.settings.base_url}/readyz"
    stage.until("the pages", lambda: _is_up(ready))
    stage.until("the shop", lambda: _is_up(stage.shop_url))
    shop = merchant.connected(stage.database)
    if shop is None:
        merchant.Merchant(stage.settings.base_url, stage.shop_url).connect()
        shop = merchant.connected(stage.database)
        if shop is None:
            raise DemoFailed("the shop was approved, and is not connected")
        shop = merchant.settle_in(stage.database, shop)
    stage.until("the orders", lambda: _orders(stage.database) >= len(wares.SALES))
    return _link(stage, shop)


def _link(stage: Stage, shop: Shop) -> str:
    """Where the merchant signs in, once."""
    with stage.database.transaction() as session:
        now = stage.database.now(session)
        sam = staff.invite(session, shop.id, _STAFF, Role.SETTINGS, by="demo", vault=stage.vault, now=now)
        secret = staff.link(session, sam.id, vault=stage.vault, now=now)
    return stage.settings.base_url + links.sign_in(shop.handle or "", secret)


def _orders(database: Database) -> int:
    with database.reading() as session:
        return session.execute(select(func.count()).select_from(OrderRow).where(OrderRow.snapshot.is_not(None))).scalar_one()


def _is_up(url: str) -> bool:
    try:
        with requests.Session() as web:
            web.trust_env = False
            return web.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _where(stage: Stage, link: str) -> str:
    shop = merchant.connected(stage.database)
    handle = "" if shop is None or shop.handle is None else shop.handle
    base = stage.settings.base_url
    return f"""
Retour is up, with a simulated WooCommerce shop called {wares.SETTINGS.name}.

  As a shopper     {base}{links.portal(handle)}
                   order {wares.FIRST}, e-mail {wares.KIM}
  As the merchant  {link}
                   (the link signs you in once; later ones come by mail)
  The shop         {stage.shop_url}/   its orders, and the books of its payment gateway
  The mailbox      http://127.0.0.1:{stage.ports.mail}/   every mail that is sent

Everything lies in {stage.settings.data_dir}. Nothing leaves this machine. Ctrl-C stops all of it."""


@contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """What the processes log goes into a file; the terminal is for the reader."""
    sys.stderr.flush()
    kept = os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
