"""Where a store may stand: addresses as people type them, and the network behind a name (A60)."""

from __future__ import annotations

import ipaddress
import socket
import threading
from datetime import timedelta

import pytest

from adapters.woocommerce.guard import Guard, address, is_public
from connector.domain.connecting import Misfortune, NotConnectable

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("shop.example", "shop.example"),
        ("  Shop.Example/ ", "shop.example"),
        ("HTTPS://SHOP.EXAMPLE:443/", "shop.example"),
        ("http://shop.example", "shop.example"),
        ("http://shop.example:80/", "shop.example"),
        ("shop.example.", "shop.example"),
        ("https://shop.example/winkel/", "shop.example/winkel"),
        ("https://shop.example/wp-admin/admin.php?page=wc-settings#tab", "shop.example"),
        ("https://shop.example/en/wp-json/wc/v3/orders", "shop.example/en"),
        ("https://shop.example/index.php", "shop.example"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("ｓｈｏｐ．example", "shop.example"),  # noqa: RUF001 - full width, as somebody types it
        ("https://1.1.1.1", "1.1.1.1"),
        ("https://[2606:4700:4700:0::1111]/", "[2606:4700:4700::1111]"),
        ("https://shop.example/b\u00fccher", "shop.example/b%C3%BCcher"),
        ("my-shop.co.uk/a/b", "my-shop.co.uk/a/b"),
        ("shop_1.example", "shop_1.example"),
    ],
)
def test_an_address_is_read_as_a_person_means_it(typed: str, domain: str) -> None:
    found = address(typed, dev=False)

    assert found.domain == domain
    assert found.url == f"https://{domain}"
    assert address(found.domain, dev=False) == found == address(found.url, dev=False)


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "",
            " ",
            "/",
            "https://",
            "shop",
            "shop example",
            "https://shop.example:8080",
            "https://shop.example:99999",
            "https://shop.example:x",
        ),
        *("file:///etc/passwd", "gopher://shop.example", "ftp://shop.example", "javascript://shop.example/%0aalert(1)", "data:text/html,x"),
        *("http://good.example@evil.example", "https://user:pass@shop.example", "https://shop.example\\@evil.example", "//shop.example"),
        *("https://2130706433", "https://0x7f000001", "https://0177.0.0.1", "https://127.1", "https://0x7f.0.0.1", "https://1.2.3.4.5"),
        *("https://shop.example/../wp", "https://shop.example/%2e%2e/wp", "https://shop.example/a%2fb", "https://shop.example/<script>"),
        *(
            "https://shop..example",
            "https://-shop.example",
            "https://shop.example%00.evil.example",
            "https://sh\x00op.example",
            "shop.exam\u202eple",
        ),
        *(f"https://{'a' * 64}.example", f"https://shop.example/{'a' * 300}", "x" * 3000, "https://[::1", "https://[zz]/"),
    ],
)
def test_a60_what_is_no_address_of_a_store_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(NotConnectable) as refused:
        address(typed, dev=False)

    assert refused.value.why is Misfortune.BAD_ADDRESS
    assert refused.value.detail == ""


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "http://127.0.0.1",
            "https://10.0.0.1",
            "https://192.168.1.1/shop",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1",
        ),
        *("https://0.0.0.0", "https://[::1]", "https://[::]", "https://[fe80::1]", "https://[fd00::1]", "https://[::ffff:127.0.0.1]"),
        *("https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]", "https://168.63.129.16", "https://224.0.0.1", "https://１２７.0.0.1"),  # noqa: RUF001 - full width, as somebody types it
        *("http://localhost", "localhost:443", "shop.localhost", "nas.local", "metadata.google.internal", "shop.lan"),
    ],
)
def test_a60_a_private_address_is_refused_by_its_name_or_number(typed: str) -> None:
    with pytest.raises(NotConnectable) as refused:
        address(typed, dev=False)

    assert refused.value.why is Misfortune.PRIVATE_ADDRESS


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("http://127.0.0.1:8089", "http://127.0.0.1:8089"),
        ("127.0.0.1:8089/shop", "http://127.0.0.1:8089/shop"),
        ("https://127.0.0.1:8490", "https://127.0.0.1:8490"),
        ("localhost", "http://localhost"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("shop.example", "https://shop.example"),
        ("http://shop.example", "http://shop.example"),
    ],
)
def test_in_development_this_machine_http_and_any_port_may_be_named(typed: str, url: str) -> None:
    assert address(typed, dev=True).url == url


@pytest.mark.parametrize("typed", ["file:///etc/passwd", "http://good@127.0.0.1", "http://2130706433", "http://127.0.0.1/../x"])
def test_a60_even_in_development_no_address_is_read_two_ways(typed: str) -> None:
    with pytest.raises(NotConnectable):
        address(typed, dev=True)


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        *((ip, True) for ip in ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101")),
        *((ip, False) for ip in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0")),  # noqa: S104 - an address to refuse
        *((ip, False) for ip in ("192.0.0.8", "192.0.2.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1", "168.63.129.16")),
        *((ip, False) for ip in ("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1", "2001::1", "2002:a00:1::")),
        *((ip, False) for ip in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "fec0::1", "3fff::1", "5f00::1", "::10.0.0.1")),
    ],
)
def test_a60_only_global_addresses_are_public_however_they_are_wrapped(ip: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(ip)) is public


def test_a60_one_private_address_among_those_of_a_name_refuses_the_name() -> None:
    guard = Guard(look_up=lambda _host, _port: ["93.184.216.34", "10.0.0.7"])

    with pytest.raises(NotConnectable) as refused:
        guard.addresses("shop.example", 443, within=SECOND)

    assert refused.value.why is Misfortune.PRIVATE_ADDRESS


def test_a_public_name_gives_the_addresses_that_were_checked() -> None:
    guard = Guard(look_up=lambda _host, _port: ["93.184.216.34", "2606:4700:4700::1111"])

    assert guard.addresses("shop.example", 443, within=SECOND) == ["93.184.216.34", "2606:4700:4700::1111"]


def test_a60_a_number_is_checked_too() -> None:
    with pytest.raises(NotConnectable):
        Guard().addresses("127.0.0.1", 443, within=SECOND)
    assert Guard(dev=True).addresses("127.0.0.1", 443, within=SECOND) == ["127.0.0.1"]


def test_a_name_without_addresses_is_nobody() -> None:
    with pytest.raises(OSError, match="no address"):
        Guard(look_up=lambda _host, _port: []).addresses("shop.example", 443, within=SECOND)


def test_the_system_is_asked_for_names_of_this_machine() -> None:
    assert set(Guard(dev=True).addresses("localhost", 80, within=SECOND * 5)) <= {"127.0.0.1", "::1"}


def test_a_look_up_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        asked.set()
        answered.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(TimeoutError):
        Guard(dev=True).addresses("localhost", 80, within=timedelta(milliseconds=20))
    answered.set()

    assert asked.is_set()
