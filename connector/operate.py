"""What an operator asks and does: `retour doctor` says how it stands and what to do, `retour shop` connects, lists and disconnects."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import click
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from connector import revisions, wiring
from connector.bell import connect as knock
from connector.config import Misconfigured, Settings
from connector.db import Busy, Database
from connector.domain.connecting import Misfortune, NotConnectable
from connector.domain.platform import PlatformError
from connector.misfortunes import sentence
from connector.models import Shop, ShopStatus
from connector.secrets import Unreadable, Vault
from connector.services import checkup, installs, shops
from connector.services.checkup import ShopStanding, Work
from connector.services.shops import ShopKeys

WHO: Final = "operator"
_LATE: Final = timedelta(minutes=10)  # work that nobody began
_SILENT: Final = timedelta(minutes=30)  # since the last poll; one is due every five minutes
_PATIENCE: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `todo`: what is wrong with it and what to do; `aloud`: red although nothing is wrong."""

    what: str
    todo: str = ""
    aloud: bool = False


# ── Doctor ──


@click.command()
def doctor() -> None:
    """Say how it stands: settings, database, Redis, work, and every shop. Exit code 1 if something needs you."""
    findings = list(examine(Settings.from_env()))
    for finding in findings:
        wrong = bool(finding.todo)
        line = f"{finding.what}: {finding.todo}" if wrong else finding.what
        click.secho(f"{'!!' if wrong else ' !' if finding.aloud else 'ok'} {line}", fg="red" if wrong or finding.aloud else None)
    if any(finding.todo for finding in findings):
        sys.exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, one after the other. What depends on a database that is away is not looked for."""
    yield _settings(settings)
    vault = wiring.vault(settings)  # raises where the keys cannot be used
    yield _redis(settings)
    yield _mail(settings)
    database = wiring.database(settings)
    try:
        yield (found := _database(database))
        if not found.todo:
            yield from _inside(database, vault)
    finally:
        database.dispose()


def _settings(settings: Settings) -> Finding:
    if settings.dev:
        words = f"DEVELOPMENT at {settings.base_url}: loopback and http shops are let in. Unset RETOUR_DEV where shoppers come."
        return Finding(words, aloud=True)
    if not settings.base_url.startswith("https://"):
        return Finding(
            f"settings: our address is {settings.base_url}", "no store can reach it; set BASE_URL to the https address that shoppers reach"
        )
    return Finding(f"settings: production, our address is {settings.base_url}")


def _redis(settings: Settings) -> Finding:
    """Nothing is lost without Redis, and nothing is in it."""
    try:
        with knock(settings.redis_url, patience=_PATIENCE) as client:
            client.ping()
    except (RedisError, OSError, ValueError):
        words = "Redis does not answer, which loses nothing: workers then find their work by looking, a little later."
        return Finding(f"{words} `retour run` starts one where REDIS_URL is not set.", aloud=True)
    return Finding("Redis answers")


def _mail(settings: Settings) -> Finding:
    """Whether anybody takes our mail. Its address may hold a password, and is not quoted."""
    if not settings.smtp_url:
        return Finding(
            "mail: SMTP_URL is not set, so no shopper is written to, and staff get their links from `retour staff` alone", aloud=True
        )
    parts = urlsplit(settings.smtp_url)
    port = parts.port or (465 if parts.scheme == "smtps" else 587)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE):
            return Finding(f"mail: the server of SMTP_URL answers; mail comes from {settings.mail_from}")
    except OSError:
        return Finding("mail: the server of SMTP_URL does not answer", "messages wait for it for three days; correct SMTP_URL, or start it")


def _database(database: Database) -> Finding:
    """Named without its user and password."""
    name = f"database: {database.dialect} {database.url.host or ''} {database.url.database or ''}".replace("  ", " ").rstrip()
    try:
        at, wanted = revisions.current(database), revisions.newest()
    except (DatabaseError, Busy, OSError) as trouble:
        why = getattr(getattr(trouble, "orig", trouble), "sqlstate", None) or type(getattr(trouble, "orig", trouble)).__name__
        return Finding(name, f"it cannot be used ({why}); is it there, and is it ours?")
    if at != wanted and not revisions.knows(at):
        return Finding(name, f"it is at {at}, which is newer than this code ({wanted}); update Retour")
    return Finding(name, f"it is at {at or 'nothing'}; run `retour migrate`") if at != wanted else Finding(f"{name}, at {at}")


def _inside(database: Database, vault: Vault) -> Iterator[Finding]:
    with database.reading() as session:
        now = database.now(session)
        work, standings = checkup.work(session, now=now), checkup.shops(session, vault)
    if not work:
        yield Finding("work: nothing is to be done")
    for kind in work:
        yield _work(kind, now)
    if not standings:
        yield Finding("shops: none is connected; `retour shop connect` or /install/woocommerce connects one")
    for shop in standings:
        yield _shop(shop, now)


def _work(work: Work, now: datetime) -> Finding:
    counts = {
        "due": work.due, "later": work.later, "held for a shop that may not be called now": work.held,
        "failing and tried again": work.failing, "parked": work.parked,
    }  # fmt: skip
    told = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
    age = timedelta(0) if work.oldest_due is None else now - work.oldest_due
    told += f"; the oldest is due for {_lasting(age)}" if work.oldest_due is not None else ""
    todo = []
    if age > _LATE:
        todo.append("nobody works it off; start `retour run`, or look into the worker's log")
    if work.parked:
        todo.append("a person has to look at what is parked, at the desk")
    return Finding(f"work: {work.kind}: {told}", "; ".join(todo))


def _shop(shop: ShopStanding, now: datetime) -> Finding:
    name = f"shop: {shop.domain} ({shop.platform})"
    if shop.status is ShopStatus.UNINSTALLED:
        return Finding(f"{name}: disconnected, {'its persons are forgotten' if shop.redacted_at else 'its history is kept for 48 hours'}")
    told = [shop.status.value, *_reads(shop, now), f"time zone {shop.time_zone}"]
    return Finding(f"{name}: {', '.join(told)}", " ".join(_needs(shop, now)))


def _reads(shop: ShopStanding, now: datetime) -> Iterator[str]:
    """How far the shop is read."""
    sync = shop.sync
    if shop.paused_until is not None and shop.paused_until > now:
        yield f"asked us to wait {_lasting(shop.paused_until - now)}"
    if sync is None:
        return
    yield "never polled to the end" if sync.polled_at is None else f"polled {_lasting(now - sync.polled_at)} ago"
    match sync.deliveries_ok:
        case None:
            yield "deliveries not looked after yet"
        case True:
            yield "deliveries on" + (f" (mended {sync.deliveries_mended} times)" if sync.deliveries_mended else "")
        case False:
            yield "deliveries off"
    yield f"{shop.inbox.pending + shop.inbox.taken:,} hints waiting"
    back = f", back to {sync.imported_until.date().isoformat()}" if sync.imported_until is not None else ""
    yield f"{sync.imported:,} orders imported{', all of its history' if sync.import_done_at is not None else back}"


def _needs(shop: ShopStanding, now: datetime) -> Iterator[str]:
    """What a person has to do for it."""
    if not shop.opens:
        yield "No key of RETOUR_SECRET_KEYS opens its credentials: put the earlier key back, behind the new one; else connect it again."
    if shop.trouble:
        known = shop.trouble in {why.value for why in Misfortune}
        yield sentence(Misfortune(shop.trouble), shop.detail) if known else f"The last probe found {shop.trouble}; see the log."
    elif shop.status is ShopStatus.REVOKED:
        yield "The store refused our keys: the next probe says why, within the hour; else connect it again."
    if shop.sync is None:
        yield "It was connected by a version that read no orders: connect it again."
    elif shop.status is ShopStatus.ACTIVE and now - (shop.sync.polled_at or shop.sync.poll_at) > _SILENT:
        yield "It is not polled: start `retour run`, or look into the worker's log."
    if shop.sync is not None and shop.sync.deliveries_ok is False:
        yield "Its webhooks are off and could not be mended: look at them under WooCommerce → Settings → Advanced → Webhooks."
    if shop.parked:
        many = "payment needs" if shop.parked == 1 else "payments need"
        yield f"{shop.parked:,} {many} a person: answer for it at the desk, under “Money”."
    if shop.inbox.poisoned:
        yield f"{shop.inbox.poisoned:,} of its deliveries could not be read: they are kept for a week."
    if shop.alarms:
        yield f"{shop.alarms:,} {'alarm stands' if shop.alarms == 1 else 'alarms stand'}: look at the desk and clear them there."


def _lasting(time: timedelta) -> str:
    """A time in its largest unit."""
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


# ── Shops ──


@click.group()
def shop() -> None:
    """Connect shops, list them, disconnect them."""


@shop.command()
@click.argument("address")
@click.option("--platform", default="woocommerce", show_default=True, help="What the shop runs on.")
@click.option("--key", prompt="Consumer key (ck_…)", help="The consumer key. The secret is asked for, and is never an argument.")
def connect(address: str, platform: str, key: str) -> None:
    """Connect the store at ADDRESS with keys made by hand (WooCommerce → Settings → Advanced → REST API, Read/Write)."""
    settings = Settings.from_env()
    served = wiring.platforms(settings)
    if platform not in served:
        raise click.BadParameter(f"{platform!r} is not served here; there is {', '.join(sorted(served))}", param_hint="--platform")
    with _opened(settings) as database:
        try:
            domain = served[platform].shop_at(address)
            secret = click.prompt("Consumer secret (cs_…)", hide_input=True)
            keys = {"consumer_key": key.strip(), "consumer_secret": secret.strip()}
            facts = served[platform].connect(domain, keys, {}).probe()
            domain = served[platform].shop_at(facts.get("url", address))  # where it answered, however it was typed
        except NotConnectable as trouble:
            raise click.ClickException(sentence(trouble.why, trouble.detail)) from trouble
        with database.transaction() as session:
            vault, now = wiring.vault(settings), database.now(session)
            made = installs.connect(session, platform, domain, keys, facts, vault=vault, who=WHO, now=now)
            domain = shops.keys_of(session, made).domain
    told = ", ".join(text for text in (facts.get("version", ""), facts.get("currency", "")) if text)
    click.echo(f"Connected: {domain}{f' ({told})' if told else ''}. Its orders are being read; `retour doctor` says how far.")


@shop.command("list")
def list_them() -> None:
    """List every shop and how it stands."""
    settings = Settings.from_env()
    with _opened(settings) as database, database.reading() as session:
        now, standings = database.now(session), checkup.shops(session, wiring.vault(settings))
    for found in standings:
        click.echo(_shop(found, now).what.removeprefix("shop: "))
    if not standings:
        click.echo("No shop is connected.")


@shop.command()
@click.argument("domain")
@click.option("--yes", is_flag=True, help="Do not ask.")
def disconnect(domain: str, *, yes: bool) -> None:
    """Disconnect the shop DOMAIN, as `list` names it. Its history is kept for 48 hours; then its persons are forgotten."""
    settings = Settings.from_env()
    with _opened(settings) as database:
        keys = _connected(database, domain)
        if not yes:
            click.confirm(f"Disconnect {domain}? All work for it ends at once", abort=True)
        try:
            wiring.opener(settings)(keys).leave()
            click.echo("The store sends nothing to us any more.")
        except (PlatformError, NotConnectable, Unreadable, wiring.UnknownPlatform) as trouble:
            click.echo(f"The store could not be told ({type(trouble).__name__}): delete our webhooks there by hand.")
        with database.transaction() as session:
            shops.uninstall(session, keys.id, who=WHO, now=database.now(session))
    click.echo(f"Disconnected: {domain}. Revoke our key there too: it cannot be done from here. Its history is kept for 48 hours.")


def _connected(database: Database, domain: str) -> ShopKeys:
    """The one connected shop of that name."""
    with database.reading() as session:
        mine = select(Shop.id).where(Shop.domain == domain, Shop.status != ShopStatus.UNINSTALLED)
        found = [shops.keys_of(session, each) for each in session.execute(mine).scalars().all()]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise click.ClickException(f"{many} connected shop is called {domain!r}; `retour shop list` names them")
    return found[0]


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """The database, at the version of this code or newer. Raises `Misconfigured`."""
    database = wiring.database(settings)
    try:
        at, wanted = revisions.current(database), revisions.newest()
        if at != wanted and revisions.knows(at):
            raise Misconfigured(f"the database is at {at or 'nothing'} and this code wants {wanted}: run `retour migrate` first")
        yield database
    finally:
        database.dispose()
