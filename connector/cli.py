"""`retour`: what an operator types. Every command reads its settings from the environment."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from sqlalchemy.exc import DatabaseError

from connector import keeper, operate, policy_text, revisions, staffing, story, wiring
from connector import migrate as migrations
from connector.config import Misconfigured, Settings
from connector.db import Database
from connector.demo import DemoFailed
from connector.secrets import UnusableKey, new_key
from connector.services import seals
from connector.supervisor import AlreadyRunning

_DEMO = "demo"  # the file that says that a directory is a demo's
P = ParamSpec("P")
R = TypeVar("R")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="retour")
def main() -> None:
    """Retour: returns for Shopify and WooCommerce."""


def _explained(command: Callable[P, R]) -> Callable[P, R]:
    """What an operator can mend is said in one sentence, without a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (Misconfigured, UnusableKey, AlreadyRunning, story.StoryFailed, DemoFailed) as problem:
            raise click.ClickException(str(problem)) from problem
        except DatabaseError as trouble:  # its words may quote an address with a password
            state = getattr(trouble.orig, "sqlstate", None) or type(trouble.orig).__name__
            raise click.ClickException(f"the database of DATABASE_URL cannot be used ({state}); is it there, and is it ours?") from None

    return run


@main.command()
@_explained
def migrate() -> None:
    """Bring the database to the version of this code."""
    database = wiring.database(Settings.from_env())
    was = revisions.current(database)
    if was is not None and not revisions.knows(was):
        raise Misconfigured(f"the database is at {was}, which is newer than this code ({revisions.newest()}): update Retour")
    migrations.to(database)
    click.echo(
        f"The database is at {revisions.current(database)}"
        + (f" (it was at {was or 'nothing'})." if was != revisions.current(database) else " already.")
    )


@main.command()
@click.option("--expect", "expected", multiple=True, metavar="POSITION:HASH", help="A seal that a log (timeline.sealed) told: is it there?")
@_explained
def verify(expected: tuple[str, ...]) -> None:
    """Walk every shop's timeline along its seals: was anything changed, left out or put in? Exit code 1 if so."""
    marks = [_seal(text) for text in expected]
    settings = Settings.from_env()
    database = wiring.database(settings)
    _migrated(database)
    with database.reading() as session:
        verdicts = list(seals.verify(session, settings.seal_key.encode()))
    for verdict in verdicts:
        erased = f", {verdict.erased} of them with their text erased" if verdict.erased else ""
        sealed = f"sealed up to entry {verdict.sealed}{erased}; {verdict.unsealed} wait for their seal"
        click.echo(f"{verdict.domain}: {sealed}; last seal {verdict.last or 'none'}")
        for fault in verdict.faults:
            click.echo(f"  CHANGED: {fault}")
    if not verdicts:
        click.echo("No shop is installed.")
    with database.reading() as session:
        lost = [text for text, mark in zip(expected, marks, strict=True) if not seals.stands(session, *mark)]
    for text in lost:
        click.echo(f"LOST: no chain has the seal {text}")
    if lost or any(verdict.faults for verdict in verdicts):
        sys.exit(1)


def _seal(text: str) -> tuple[int, bytes]:
    """Position and hash of a seal, as logs tell them."""
    position, _, mark = text.partition(":")
    try:
        return int(position), bytes.fromhex(mark)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no seal; a log tells position and hash: 12:9f86d0…", param_hint="--expect") from None


@main.command()
@_explained
def run() -> None:
    """Run the pages, a worker and a clock here until told to stop, with a Valkey of their own unless REDIS_URL names another server."""
    from connector.web import server

    settings = Settings.from_env()
    wiring.vault(settings)  # else the children would say so, again and again
    server.address(os.environ, dev=settings.dev)
    _migrated(wiring.database(settings))
    keeper.become(settings.data_dir)


@main.command()
def keys() -> None:
    """Print a fresh set of keys for the environment. Keep them: what they encrypt cannot be read without them."""
    for name in ("RETOUR_SECRET_KEYS", "RETOUR_DIGEST_KEY", "RETOUR_SEAL_KEY"):
        click.echo(f"{name}={new_key()}")


@main.group()
def policy() -> None:
    """Work with policy files."""


@policy.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Read a policy file and run the test cases in it. Exit code 1 if it could not be published."""
    try:
        text = file.read_text(encoding="utf-8")
        policy_text.read(text)
        failures = policy_text.failing_tests(text)
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8 text") from None
    except policy_text.FaultyPolicy as faults:
        raise click.ClickException(f"{file} has mistakes:\n{faults}") from None
    for failure in failures:
        click.echo(f"FAILS: {failure}")
    if failures:
        raise click.ClickException(f"{len(failures)} of its test cases do not come out")
    click.echo(f"{file} is fine; its test cases come out.")


def _directory(default: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    place = click.Path(file_okay=False, path_type=Path)
    return click.option("--data", type=place, default=Path(default), show_default=True, help="Where it keeps its files.")


@main.command()
@_directory(".retour/demo")
@_explained
def demo(data: Path) -> None:
    """Run all of Retour here with a simulated shop and a mailbox to click through. PORT moves it; Ctrl-C stops it; the data stay."""
    from connector.demo import stage

    with _alone(data):
        _marked(data)
        click.echo("Starting; the first time this takes half a minute.")
        stage.play(data.resolve(), os.environ, click.echo)


@main.command("story")
@_directory(".retour/story")
@_explained
def tell(data: Path) -> None:
    """Play one return from the claim to the shop's books, with the worker killed half-way. It empties its directory first."""
    with _alone(data):
        _marked(data, emptied=True)
        logging.basicConfig(filename=data / "demo.log", level=logging.INFO, force=True)
        settings = Settings.from_env({"RETOUR_DATA": str(data), "RETOUR_DEV": "1"})
        click.echo("Retour plays one return, from the shopper's claim to the books of the shop. Nothing leaves this machine.")
        click.echo(f"(SQLite, Valkey, a worker and a clock as processes of their own; files in {data}.)")
        story.play(settings, click.echo)
        click.echo(f"\nThat was one return. Look for yourself: RETOUR_DATA={data} {os.path.relpath(sys.argv[0])} verify")


def _marked(data: Path, *, emptied: bool = False) -> None:
    """Our directory, or nobody's: what is in it otherwise is never touched."""
    if data.exists() and any(data.iterdir()) and not (data / _DEMO).exists():
        raise click.ClickException(f"{data} holds other things than a demo; name another directory with --data")
    if emptied:
        shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (data / _DEMO).touch()


def _migrated(database: Database) -> None:
    """An older database is not touched. A newer one is: each migration works beside the version before it (F48)."""
    at, wanted = revisions.current(database), revisions.newest()
    if at != wanted and revisions.knows(at):
        raise Misconfigured(f"the database is at {at or 'nothing'} and this code wants {wanted}: run `retour migrate` first")


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One demo a directory: the next one would clear the files of this one."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.with_name(f"{data.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"a demo is running in {data}; wait for it, or give --data another place") from None
        yield


def _take_in(command: click.Command) -> None:
    """A command of another module, whose mistakes are explained like those of ours."""
    main.add_command(command)
    for each in (command, *getattr(command, "commands", {}).values()):
        if each.callback is not None:
            each.callback = _explained(each.callback)


_take_in(operate.doctor)
_take_in(operate.shop)
_take_in(staffing.group)

if __name__ == "__main__":
    main()
