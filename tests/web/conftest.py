"""The fixtures of the tests of pages: the application over a fresh database, and browsers that visit it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from connector.app import create_app
from connector.config import Settings
from connector.db import Database
from connector.secrets import Vault, new_key
from tests.services.conftest import Shelf, clock, database, database_url, make_world, shelf, world
from tests.web.postbox import House, connected, house
from tests.web.tiny import TinyPlatform

__all__ = ["Shelf", "clock", "database", "database_url", "make_world", "shelf", "world"]

BASE: Final = "https://returns.example.com"
START: Final = "/install/woocommerce"
ADDRESS: Final = "shop.example.com"
KEY: Final = f"ck_{'a' * 40}"
SECRET: Final = f"cs_{'b' * 40}"


def settings_for(database: Database, directory: Path, **changes: object) -> Settings:
    """Settings of an installation with fresh keys."""
    values: dict[str, object] = {
        "data_dir": directory,
        "database_url": database.url.render_as_string(hide_password=False),
        "redis_url": f"unix://{directory / 'nobody.sock'}",
        "secret_keys": (new_key(),),
        "digest_key": new_key(),
        "seal_key": new_key(),
        "base_url": BASE,
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]  # a test names what it changes


@dataclass(slots=True)
class Browser:
    """A merchant's browser: it keeps cookies, fills in the form that it sees, and never follows a redirect by itself."""

    app: Flask
    base: str = BASE
    client: FlaskClient = field(init=False)
    page: str = ""

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def get(self, path: str) -> TestResponse:
        return self._seen(self.client.get(path, base_url=self.base))

    def post(self, path: str, values: Mapping[str, str]) -> TestResponse:
        return self._seen(self.client.post(path, data=dict(values), base_url=self.base))

    def hidden(self, name: str) -> str:
        """The value of a hidden field of the page that is open."""
        found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', self.page)
        assert found, self.page
        return unescape(found[1])

    def begin(self, address: str = ADDRESS) -> str:
        """Type the address and be sent to the store. The state."""
        self.get(START)
        sent = self.post(START, {"token": self.hidden("token"), "address": address})
        assert sent.status_code == 303, sent.text
        return parse_qs(urlsplit(sent.location).query)["user_id"][0]

    def _seen(self, answer: TestResponse) -> TestResponse:
        self.page = answer.text
        return answer


@pytest.fixture
def vault() -> Vault:
    """The keys of an installation whose shops deliver."""
    return Vault.of([new_key()], new_key())


@pytest.fixture
def home(database: Database, vault: Vault) -> Iterator[House]:
    """A shop whose deliveries are signed as the samples are, and the door that they come to."""
    connected(database, vault)
    with house(database, vault) as here:
        yield here


@pytest.fixture
def platform() -> TinyPlatform:
    return TinyPlatform()


@pytest.fixture
def app(database: Database, platform: TinyPlatform, tmp_path: Path) -> Flask:
    """The application as a host runs it, with the tests' platform."""
    return create_app(settings_for(database, tmp_path), database=database, platforms={platform.name: platform})


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def post_keys(app: Flask) -> Callable[..., TestResponse]:
    """A store that posts keys under a state."""

    def post(state: str, key: str = KEY, secret: str = SECRET, **more: object) -> TestResponse:
        told = {"key_id": 9, "user_id": state, "consumer_key": key, "consumer_secret": secret, "key_permissions": "read_write", **more}
        return app.test_client().post(f"{START}/callback", json=told, base_url=BASE)

    return post
