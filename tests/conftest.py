"""What holds for every test: no environment from outside, no network beyond this machine, and real servers on request."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from tests import servers

# --- the environment: a developer's own settings must not reach a test, nor a test their database

_OURS: Final = {"DATABASE_URL", "REDIS_URL", "BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
_FOR_THE_TESTS: Final = {"RETOUR_FORBID_SKIPS"}

for _name in set(os.environ) - _FOR_THE_TESTS:
    if _name.upper() in _OURS or _name.startswith(("RETOUR_", "PG")):
        del os.environ[_name]

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, database=None, derandomize=False, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# --- the network: this machine only, and the real stores that the contract was given the address of

_LOCAL: Final = {"", "localhost"}


def _given_stores() -> frozenset[str]:
    """Names and addresses of the stores that WOO_URL and SHOPIFY_SHOP name."""
    names = {urlsplit(os.environ.get("WOO_URL", "")).hostname, os.environ.get("SHOPIFY_SHOP")}
    hosts = {name for name in names if name}
    for name in sorted(hosts):
        with suppress(OSError):
            hosts |= {str(found[4][0]) for found in socket.getaddrinfo(name, 443)}
    return frozenset(hosts)


_STORES: Final = _given_stores()


def _is_outside(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if not isinstance(name, str) or name in _LOCAL or name in _STORES:
        return False
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return True


def _guard(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: it sees every connection that Python makes, whatever library makes it and however it is patched."""
    match event, args:
        case (("socket.connect" | "socket.sendto" | "socket.sendmsg"), (_, (host, *_))) if _is_outside(host):
            pytest.fail(f"tests talk to this machine only, not to {host!r}")
        case (("socket.getaddrinfo" | "socket.gethostbyname"), (host, *_)) if _is_outside(host):
            pytest.fail(f"tests look up no names, not even {host!r}")


sys.addaudithook(_guard)

# --- skips: fine on a developer's machine, never where the result counts

_FORBID_SKIPS: Final = os.environ.get("RETOUR_FORBID_SKIPS") == "1"


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _FORBID_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"RETOUR_FORBID_SKIPS=1, and this did not run: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test is a failed one, unless its subject may lack what it tests."""
    report = yield
    if item.get_closest_marker("may_skip") is None:
        _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skipped module is a failed one."""
    report = yield
    _forbid_skip(report)
    return report


# --- servers: one of each per xdist worker, started when the first test asks (half a second), so that a test may restart what it uses


@pytest.fixture(scope="session")
def _valkey() -> Iterator[servers.Valkey]:
    with servers.valkey() as server:
        yield server


@pytest.fixture
def valkey_server(_valkey: servers.Valkey) -> servers.Valkey:
    """A running, empty Valkey; the test may flush, pause, kill or restart it."""
    _valkey.revive()
    return _valkey


@pytest.fixture(scope="session")
def _postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        yield server


@pytest.fixture
def postgres_server(_postgres: servers.Postgres) -> servers.Postgres:
    """A running PostgreSQL; the test may restart it."""
    _postgres.revive()
    return _postgres


@pytest.fixture
def postgres_url(postgres_server: servers.Postgres) -> Iterator[str]:
    """An empty PostgreSQL database, gone after the test."""
    yield postgres_server.create_database("test")
    postgres_server.revive()
    postgres_server.drop_database("test")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind that we support: the test runs once on either."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'retour.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
