"""The benchmark measures what it says: deliveries are genuine, every 200 is a row, and every server serves. Nothing here is timed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.test import Client

from adapters.woocommerce.platform import WooPlatform
from bench import apps, drain, load, stage, whole
from bench import intake as lines
from bench.deliveries import FIRST_ORDER, LARGEST, PATH, PERSONAL, SECRET, SMALLEST, moulds, refund
from bench.intake import Line, Untrue, measure
from bench.load import Answers, Order
from bench.shop import Shop, shop
from bench.stage import Stage
from connector.domain.connecting import Hint
from connector.domain.platform import HttpRequest
from tests import servers


@pytest.fixture
def here(valkey_server: servers.Valkey, tmp_path: Path) -> Stage:
    return Stage(tmp_path, valkey=valkey_server.url)


@pytest.fixture(scope="module")
def far() -> Iterator[Shop]:
    with shop(40) as one:
        yield one


def _request(pieces: tuple[bytes, ...]) -> HttpRequest:
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = tuple((name.lower(), value) for name, value in (line.split(": ", 1) for line in rest))
    assert first == f"POST {PATH} HTTP/1.1"
    assert int(dict(headers)["content-length"]) == len(body)
    return HttpRequest("POST", f"http://127.0.0.1{PATH}", headers, body)


def test_every_delivery_is_signed_and_of_its_size_and_names_its_order_and_no_two_are_alike() -> None:
    platform, bodies = WooPlatform(dev=True), set()
    for n, mould in enumerate(moulds(40)):
        for turn in range(2):
            request = _request(tuple(mould.delivery(2 * n + turn)))
            event = platform.read_webhook(request, [SECRET.encode()])
            assert event.topic == "order.updated"
            assert platform.hint(event.topic, request.body).order == str(FIRST_ORDER + n)
            assert SMALLEST <= len(request.body) <= LARGEST
            bodies.add(request.body)
    assert len(bodies) == 80
    assert all(word.encode() in body for word in PERSONAL for body in bodies)
    assert max(map(len, bodies)) > 2.5 * min(map(len, bodies))


def test_a_delivery_that_tells_of_a_refund_is_signed_and_names_no_order() -> None:
    platform = WooPlatform(dev=True)
    first, second = (_request(tuple(refund(n))) for n in (1, 2))
    event = platform.read_webhook(first, [SECRET.encode()])
    assert event.topic == "action.woocommerce_refund_created"
    assert platform.hint(event.topic, first.body) == Hint(sweep=True)
    assert first.body != second.body


def test_of_a_burst_so_many_deliveries_as_were_asked_for_tell_of_a_refund() -> None:
    sent = [b"".join(pieces) for _, pieces in load._plan(Order(0, 40, orders=8, over=1.0, refunds=10), list(moulds(8)))]
    assert [n for n, request in enumerate(sent) if b"woocommerce_refund_created" in request] == [9, 19, 29, 39]
    assert not any(b"woocommerce_refund_created" in b"".join(pieces) for _, pieces in load._plan(Order(0, 40), list(moulds(64))))


def test_the_bare_endpoint_compares_signatures() -> None:
    client = Client(apps.bare())
    request = _request(tuple(next(iter(moulds(1))).delivery(0)))
    answers = [client.post(PATH, data=body, headers=list(request.headers)).status_code for body in (request.body, request.body[::-1])]
    assert answers == [200, 401]


def test_a_bell_that_nobody_hears_loses_nothing_and_a_number_that_means_nothing_is_not_told(
    here: Stage, postgres_server: servers.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Answers] = []

    def more(order: Order) -> Answers:
        said.append(stage.send(order))
        return replace(said[0], statuses={"200": said[0].kept + 1})  # it claims one that never was

    monkeypatch.setattr(lines, "send", more)
    here.postgres = postgres_server
    line = Line("gunicorn", "postgresql", app=lines.RINGING, valkey=False)
    with pytest.raises(Untrue, match="51 were answered with 200, and 50 rows are there"):
        measure(here, line, seconds=60, warm=0, count=50)
    assert said[0].statuses == {"200": 50}


def test_the_drain_and_the_jobs_that_it_is_compared_with_read_every_order(here: Stage, far: Shop) -> None:
    here.shop = far.credentials
    assert drain.drained(here, far, 100).requests == 1  # for all hundred
    assert drain.one_by_one(here, far, 4, forks=True).requests == 100  # for a hundred, as all others


def test_a_burst_at_the_embedded_default_is_kept_and_read_and_leaves_nothing_personal(tmp_path: Path, far: Shop) -> None:
    with whole.embedded(Stage(tmp_path), far) as here:
        burst = whole.burst(here, 200, 40, 0.5)
        assert sum(whole.memory(here.pid).values()) >= 0
    assert burst.answers.kept == 200
    assert 0 < burst.requests <= 10
    assert burst.polls == 1  # for twenty refunds


@pytest.mark.parametrize("word", PERSONAL)
def test_what_is_personal_is_found_however_it_is_left(word: str, tmp_path: Path) -> None:
    text = f"{word}, and more".encode()
    written = {
        "plain": text,
        "as JSON": json.dumps({"x": word}).encode(),
        **{f"base64 after {n}": base64.b64encode(b"{" * n + text) for n in range(4)},
        "base64 at the end": base64.b64encode(b"{" + word.encode()),
    }
    file = tmp_path / "deep" / "left"
    file.parent.mkdir()
    (tmp_path / "log").write_bytes(text)  # of the bench itself
    found = {}
    for name, said in written.items():
        file.write_bytes(b"\0" * 5 + said)
        found[name] = whole.personal(tmp_path)
    assert found == {name: [word] for name in written}


def test_where_nothing_personal_is_left_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(base64.b64encode(b"zoe at example.com") + bytes(range(256)))
    assert whole.personal(tmp_path) == []
