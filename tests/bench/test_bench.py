"""The benchmark measures what it says: deliveries are genuine, every 200 is a row, and every server serves. Nothing here is timed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from adapters.woocommerce.platform import WooPlatform
from bench import drain, whole
from bench import intake as lines
from bench.deliveries import FIRST_ORDER, LARGEST, PATH, PERSONAL, SECRET, SMALLEST, moulds
from bench.intake import BARE, Line, Untrue, measure
from bench.load import Answers
from bench.shop import shop
from bench.stage import SERVERS, Stage
from connector.domain.platform import HttpRequest
from tests import servers


@pytest.fixture
def here(valkey_server: servers.Valkey, tmp_path: Path) -> Stage:
    return Stage(tmp_path, valkey=valkey_server.url)


@pytest.fixture
def here_with_postgres(here: Stage, postgres_server: servers.Postgres) -> Stage:
    here.postgres = postgres_server
    return here


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


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_keeps_what_it_answers_with_200(server: str, here: Stage) -> None:
    answers = measure(here, Line(server, "sqlite"), seconds=60, warm=0, count=100)
    assert answers.kept == 100


def test_postgresql_keeps_what_is_answered_with_200_also_with_nobody_at_the_bell(here_with_postgres: Stage) -> None:
    assert measure(here_with_postgres, Line("waitress", "postgresql", valkey=False), seconds=60, warm=0, count=100).kept == 100


def test_the_bare_endpoint_compares_signatures(here: Stage) -> None:
    assert measure(here, Line("gunicorn", app=BARE), seconds=60, warm=0, count=50).kept == 50


def test_a_bell_on_every_commit_keeps_as_much(here: Stage) -> None:
    assert measure(here, Line("gunicorn", "sqlite", app=lines.RINGING), seconds=60, warm=0, count=50).kept == 50


def test_a_number_that_means_nothing_is_not_told(here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    more = Answers({"200": 21}, 1.0, 1.0, 1.0, 1.0, 0.1)
    monkeypatch.setattr(lines, "send", lambda _order: more)  # the sender is not what is tested: it claims what never was
    with pytest.raises(Untrue, match="21 were answered with 200, and 0 rows are there"):
        measure(here, Line("waitress", "sqlite"), seconds=60, warm=0, count=20)


def test_the_drain_and_the_jobs_that_it_is_compared_with_read_every_order(here: Stage) -> None:
    with shop(25) as far:
        here.shop = far.credentials
        ours = drain.drained(here, far, 100)
        simple, forked = (drain.one_by_one(here, far, 8, forks=forks) for forks in (False, True))
    assert ours.requests == 1  # for all hundred
    assert simple.requests == forked.requests == 100


def test_a_burst_at_the_embedded_default_is_kept_and_read_and_leaves_nothing_personal(tmp_path: Path) -> None:
    with shop(60) as far, whole.embedded(Stage(tmp_path), far) as here:
        burst = whole.burst(here, 300, 60, 0.5)
        assert sum(whole.memory(here.pid).values()) >= 0
    assert burst.answers.kept == 300
    assert 0 < burst.requests <= 10


def test_what_is_personal_is_found_where_it_is_left(tmp_path: Path) -> None:
    with shop(4) as far, whole.embedded(Stage(tmp_path), far) as here:
        (tmp_path / "left").write_bytes(b"x" + base64.b64encode(b"zoe@example.com"))
        with pytest.raises(Untrue, match=r"zoe@example\.com"):
            whole.burst(here, 4, 4, 0.1)
