"""`/metrics`: bounded labels, true counts, and only for whoever may see them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connector.app import create_app
from connector.db import Database
from connector.models import Kind, Shop
from connector.services import outbox
from tests.services.acts import placed
from tests.web.conftest import Browser, settings_for
from tests.web.tiny import TinyPlatform
from tests.world import START, World, an_order

TOKEN = "a-token-of-32-characters-and-more"


@pytest.fixture
def browser(database: Database, platform: TinyPlatform, tmp_path: Path) -> Browser:
    settings = settings_for(database, tmp_path, metrics_token=TOKEN)
    return Browser(create_app(settings, database=database, platforms={platform.name: platform}))


def scraped(browser: Browser) -> str:
    answer = browser.client.get("/metrics", base_url=browser.base, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("shown", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN[:-1]}", "Bearer \xe9"])
def test_a_wrong_token_sees_nothing(browser: Browser, shown: str) -> None:
    answer = browser.client.get("/metrics", base_url=browser.base, headers={"Authorization": shown})

    assert answer.status_code == 403
    assert "retour_work" not in answer.text


def test_without_a_token_there_is_no_such_page(database: Database, platform: TinyPlatform, tmp_path: Path) -> None:
    app = create_app(settings_for(database, tmp_path), database=database, platforms={platform.name: platform})

    assert Browser(app).get("/metrics").status_code == 404


def test_o3_work_and_money_are_counted_by_kind_and_state(world: World, platform: TinyPlatform, tmp_path: Path) -> None:
    settings = settings_for(world.db, tmp_path, metrics_token=TOKEN)
    browser = Browser(create_app(settings, database=world.db, platforms={platform.name: platform}))
    world.resolve(world.received(placed(world, an_order()), {"line-1": 1}))

    told = scraped(browser)

    assert 'retour_work{kind="settle",state="due"} 1.0' in told
    assert 'retour_work{kind="poll",state="due"} 0.0' in told
    assert 'retour_money{state="pending"} 1.0' in told
    assert 'retour_shops{state="active"} 1.0' in told


def test_o3_no_label_grows_with_what_visitors_type(browser: Browser) -> None:
    for number in range(20):
        browser.get(f"/nowhere/{number}")
        browser.get(f"/returns/CANARY-{number}")

    told = scraped(browser)

    assert "CANARY" not in told
    assert "nowhere" not in told
    assert len(re.findall(r"^retour_http_requests_total\{", told, re.MULTILINE)) < 10


def test_o3_nothing_of_a_shop_is_in_a_label(world: World, platform: TinyPlatform, tmp_path: Path) -> None:
    settings = settings_for(world.db, tmp_path, metrics_token=TOKEN)
    with world.db.transaction() as session:
        for kind in Kind:
            outbox.put(session, kind, session.get_one(Shop, world.shop.id).id, shop=world.shop.id, now=START)

    told = scraped(Browser(create_app(settings, database=world.db, platforms={platform.name: platform})))

    assert world.shop.domain not in told
    assert world.shop.id.hex not in told
