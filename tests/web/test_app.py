"""What holds for every answer: A43-A46, A63, A65, A71, A75; and the two questions that a host asks."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, abort
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from connector import revisions
from connector.app import create_app
from connector.db import Busy, Database
from connector.domain.platform import BadSignature, Throttled
from connector.logs import OneLine
from tests.web.conftest import BASE, START, Browser, settings_for
from tests.web.tiny import TinyPlatform

CANARY = "CANARY-of-a-shop"


@pytest.fixture
def failing(app: Flask) -> Browser:
    """The application with pages that fail in every way that there is."""

    def fail(how: str) -> str:
        raise {
            "busy": Busy(CANARY),
            "throttled": Throttled(timedelta(seconds=5), CANARY),
            "away": OperationalError("SELECT", {}, Exception(CANARY)),
            "forged": BadSignature(CANARY),
            "broken": RuntimeError(CANARY),
        }[how]

    app.add_url_rule("/fail/<how>", view_func=fail)
    app.add_url_rule("/abort/<int:status>", endpoint="stop", view_func=_stop)
    return Browser(app)


def _stop(status: int) -> str:
    abort(status)


# --- headers


@pytest.mark.parametrize("path", [START, "/healthz", "/readyz", "/nowhere", "/fail/broken", "/fail/busy", "/abort/403", f"{START}/check"])
def test_a44_every_answer_carries_the_headers(failing: Browser, path: str) -> None:
    headers = failing.get(path).headers

    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Access-Control-Allow-Origin" not in headers  # A65


def test_pages_bring_no_script_and_no_style_of_their_own(browser: Browser) -> None:
    page = browser.get(START).text

    assert not re.search(r"<script|<style| style=| on[a-z]+=|javascript:", page)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


# --- errors


@pytest.mark.parametrize(
    ("path", "status", "retry"),
    [
        ("/fail/busy", 503, "5"),
        ("/fail/throttled", 503, "30"),
        ("/fail/away", 503, "10"),
        ("/fail/forged", 400, None),
        ("/fail/broken", 500, None),
        ("/abort/403", 403, None),
        ("/abort/413", 413, None),
        ("/abort/418", 418, None),
        ("/abort/502", 502, None),
        ("/nowhere", 404, None),
    ],
)
def test_an_exception_is_a_page_that_quotes_nothing_of_it(failing: Browser, path: str, status: int, retry: str | None) -> None:
    answer = failing.get(path)

    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == retry
    assert answer.text.startswith("<!doctype html>")
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("how", ["busy", "away", "broken"])
def test_a71_the_log_has_the_kind_of_a_failure_and_not_its_words(failing: Browser, how: str, caplog: pytest.LogCaptureFixture) -> None:
    failing.get(f"/fail/{how}?secret={CANARY}")

    lines = [OneLine().format(record) for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == 1
    assert CANARY not in lines[0]
    assert json.loads(lines[0])["event"] == "web.failed"


def test_a43_no_parameter_leads_away(browser: Browser) -> None:
    for path in (START, f"{START}/return", f"{START}/connected", "/"):
        for name in ("return_to", "next", "url", "redirect", "return_url"):
            assert "Location" not in browser.get(f"{path}?{name}=https://evil.example").headers


@pytest.mark.parametrize("path", ["/install/woocommerce/..;/x", "/static/../app.py", "/static/..%2fapp.py", "/console"])
def test_a63_a_crooked_path_leads_nowhere(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404


# --- no debugger


def test_a75_no_environment_switches_a_debugger_on(
    monkeypatch: pytest.MonkeyPatch, database: Database, platform: TinyPlatform, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")

    app = create_app(settings_for(database, tmp_path), database=database, platforms={platform.name: platform})

    assert not app.debug
    assert not app.testing
    assert app.secret_key is None  # nothing is kept in Flask's own session


# --- assets


def test_assets_are_kept_for_ever_under_a_name_that_changes_with_them(browser: Browser) -> None:
    page = browser.get(START).text
    names = set(re.findall(r'"(/static/[^"]+)"', page))

    assert len(names) == 2
    for name in names:
        answer = browser.get(name)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.content_type.split(";")[0] in {"text/css", "image/svg+xml"}
    assert browser.get("/static/retour.css").status_code == 404
    assert browser.get("/static/retour.0000000000000000.css").status_code == 404


# --- a prefix


def test_addresses_stay_below_the_path_of_base_url(database: Database, platform: TinyPlatform, tmp_path: Path) -> None:
    settings = settings_for(database, tmp_path, base_url=f"{BASE}/retour")
    browser = Browser(create_app(settings, database=database, platforms={platform.name: platform}))

    page = browser.get(START).text

    addresses = re.findall(r'(?:href|action|src)="([^"#]+)"', page)
    assert addresses
    assert all(address.startswith("/retour/") for address in addresses)


# --- what a host asks


def test_a_process_that_is_up_says_so(browser: Browser) -> None:
    answer = browser.get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_ready_is_whoever_has_a_migrated_database(browser: Browser, database: Database) -> None:
    assert (browser.get("/readyz").status_code, browser.page) == (200, "ready\n")

    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    behind = browser.get("/readyz").status_code
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    ahead = browser.get("/readyz").status_code
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :newest"), {"newest": revisions.newest()})

    assert (behind, ahead) == (503, 200)  # during a rolling deploy the database may be ahead of the code, never behind


def test_an_empty_database_is_not_ready(database_url: str, platform: TinyPlatform, tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    browser = Browser(create_app(settings_for(empty, tmp_path), database=empty, platforms={platform.name: platform}))

    assert browser.get("/readyz").status_code == 503
    assert browser.get("/healthz").status_code == 200
    empty.dispose()


def test_a_database_that_is_away_is_not_ready(platform: TinyPlatform, tmp_path: Path) -> None:
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing", patience=0.1)
    browser = Browser(create_app(settings_for(away, tmp_path), database=away, platforms={platform.name: platform}))

    assert browser.get("/readyz").status_code == 503
    assert browser.get("/healthz").status_code == 200
    answer = browser.get(START)
    assert answer.status_code == 200  # the first page needs no database
    submitted = browser.post(START, {"token": browser.hidden("token"), "address": "shop.example.com"})
    assert submitted.status_code == 503
    assert submitted.headers["Retry-After"] == "10"
    away.dispose()
