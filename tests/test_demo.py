"""`retour demo` with its real processes: O1, and what is left when it is stopped, killed and started again."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
import requests

from connector.config import Misconfigured
from connector.demo import ports
from tests.demos import demo, free_port
from tests.test_supervisor import lives, wait_until

pytestmark = pytest.mark.timeout(300)


def listens(address: str) -> bool:
    return ports.answers(int(address.split(":")[2].partition("/")[0]))


def test_o1_the_demo_comes_up_keeps_its_data_moves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    with demo(data, free_port()) as first:
        first.up()
        pages = [first.address(name) for name in ("As a shopper", "As the merchant", "The shop", "The mailbox")]
        assert [requests.get(page, timeout=30).status_code for page in pages] == [200] * 4
        assert requests.get(pages[0].split("/returns")[0] + "/readyz", timeout=30).status_code == 200
        orders = requests.get(pages[2], timeout=30).text
        children = first.children()
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
    assert len(children) == 6
    wait_until(lambda: not any(lives(pid) for pid in children))
    assert not any(listens(page) for page in pages)

    with demo(data, free_port()) as second:
        second.up()
        assert second.address("As a shopper") != pages[0]
        assert second.address("As a shopper").split("/returns")[1] == pages[0].split("/returns")[1]
        assert second.address("The shop") == pages[2]
        assert requests.get(pages[2], timeout=30).text == orders
        children = second.children()
        second.process.kill()
        second.process.wait(60)
    wait_until(lambda: not any(lives(pid) for pid in children))
    assert not any(listens(page) for page in pages[2:])


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with demo(tmp_path, free_port()) as refused:
        assert refused.process.wait(60) == 1

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} is in use by something else; choose another: make demo PORT="):
            ports.chosen(tmp_path, {"PORT": str(port)})


@pytest.mark.parametrize("port", ["http", "80", "-1", "99999", "\uff11\uff12"])
def test_a_port_that_is_none_is_named(tmp_path: Path, port: str) -> None:
    with pytest.raises(Misconfigured, match="PORT must be a number between 1024 and 65000"):
        ports.chosen(tmp_path, {"PORT": port})


def test_the_shop_keeps_its_port_and_says_who_took_it(tmp_path: Path) -> None:
    first = ports.chosen(tmp_path, {"PORT": str(free_port())})
    assert ports.chosen(tmp_path, {"PORT": str(free_port())}).shop == first.shop

    with socket.create_server(("127.0.0.1", first.shop)), pytest.raises(Misconfigured, match=f"port {first.shop}, where the demo's shop"):
        ports.chosen(tmp_path, {"PORT": str(free_port())})
