"""What a store is, and why it does not work: each misfortune is made to happen, and called by its name."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import Fault, Gateway, Kind, ShopSettings, WooShop
from adapters.woocommerce import client, probing
from adapters.woocommerce.platform import WooPlatform
from connector.domain.connecting import Facts, Misfortune, NotConnectable
from connector.domain.platform import ShopDomain, Throttled
from tests.adapters import far
from tests.adapters.far import Trust, http
from tests.adapters.woo_reading import Read, over_tls, reading

HTML: Final = {"content_type": "text/html"}
LINK: Final = '<{}>; rel="https://api.w.org/"'
Opened = Callable[[Trust], AbstractContextManager[Callable[[], Facts]]]


def why(probe: Callable[[], Facts]) -> Misfortune:
    with pytest.raises(NotConnectable) as met:
        probe()
    return met.value.why


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines for tests."""
    for module in (client, probing):
        monkeypatch.setattr(module, "READ", timedelta(milliseconds=400))
    monkeypatch.setattr(client, "WRITE", timedelta(milliseconds=400))


# ── A store that is well ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_facts_of_a_store_are_what_it_is(trust: Trust) -> None:
    gateways = (Gateway("stripe", "Card", refunds=True), Gateway("old-pay", "Old", refunds=True, enabled=False), Gateway("cod", "Cash"))
    plugins = ("wc-store-credits/v1", "woo-wallet/woo-wallet", "somebody/v1")
    settings = ShopSettings(currency="JPY", decimals=0, prices_include_tax=True, round_at_subtotal=True, gateways=gateways, plugins=plugins)
    settings = replace(settings, name="Müller &amp;\n S\u00f6hne\u202e")
    with over_tls(trust, replace(settings, path="/winkel", hpos=False, wp_cron=False, time_zone="America/St_Johns")) as read:
        store = read.store(permissions="read_write")
        facts = store.probe()

        assert facts == {
            "url": read.url,
            "name": "Müller & Söhne",
            "tells_of_refunds": "yes",
            "auth": "basic",
            "clock_offset": facts["clock_offset"],
            "time_zone": "America/St_Johns",
            "version": "10.5.0",
            "wp_version": "6.9.7",
            "store_id": settings.store_id,
            "wp_cron": "no",
            "hpos": "no",
            "currency": "JPY",
            "decimals": "0",
            "prices_include_tax": "yes",
            "round_at_subtotal": "yes",
            "coupons": "yes",
            "gateways": "old-pay,stripe",  # what was paid through it before it was switched off still goes back
            "plugins": "advanced-coupons,terawallet",
        }
        assert abs(int(facts["clock_offset"])) <= 2
        assert store.capabilities().refund_gateways == frozenset({"old-pay", "stripe"})
        assert store.capabilities().prices_include_tax


def test_a_plain_store_has_plain_facts() -> None:
    with reading() as read:
        facts = read.store().probe()

    assert {name: facts[name] for name in ("prices_include_tax", "round_at_subtotal", "hpos", "wp_cron", "plugins", "decimals")} == {
        "prices_include_tax": "no",
        "round_at_subtotal": "no",
        "hpos": "yes",
        "wp_cron": "yes",
        "plugins": "",
        "decimals": "2",
    }


def test_a71_the_facts_hold_no_keys_and_all_are_texts() -> None:
    with reading() as read:
        facts = read.store().probe()

    assert not any(secret in str(facts) for secret in read.keys)
    assert {type(value) for value in facts.values()} == {str}


def test_a_probe_changes_nothing_over_there() -> None:
    with reading() as read:
        read.store().probe()

        assert read.shop.webhooks() == []
        assert {each.method for each in read.shop.requests} == {"GET", "PUT"}
        assert [each.path for each in read.shop.requests if each.method == "PUT"] == ["/wp-json/wc/v3/webhooks/0"]


@pytest.mark.parametrize(
    ("zone", "facts"),
    [
        ("Europe/Amsterdam", {"time_zone": "Europe/Amsterdam"}),
        ("UTC", {"time_zone": "UTC"}),
        ("UTC+02:00", {"time_zone": "UTC", "gmt_offset": "2"}),
        ("UTC-03:30", {"time_zone": "UTC", "gmt_offset": "-3.5"}),
    ],
)
def test_a_time_zone_is_known_by_name_or_is_a_distance(zone: str, facts: dict[str, str]) -> None:
    with reading(ShopSettings(time_zone=zone)) as read:
        found = read.store().probe()

    assert {name: value for name, value in found.items() if name in ("time_zone", "gmt_offset")} == facts


@pytest.mark.parametrize(
    "zone", ["../../etc/passwd", "/etc/localtime", "Europe", "Mars/Olympus", "x" * 5000, "a\\u0000b", "Europe/Amsterdam\\n/.."]
)
def test_a48_a_time_zone_that_is_none_is_utc(zone: str) -> None:
    with reading() as read:
        index = f'{{"namespaces": ["wc/v3"], "timezone_string": "{zone}", "gmt_offset": "1"}}'
        read.shop.fail_next("index", Fault(Kind.ANSWER, words=index, content_type="application/json"))
        assert read.store().probe()["time_zone"] == "UTC"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_f42_a_clock_that_is_off_is_measured(trust: Trust, minutes: int) -> None:
    with over_tls(trust) as read:
        read.clock.advance(minutes * 60)
        store = read.store()

        assert abs(int(store.probe()["clock_offset"]) - minutes * 60) <= 3
        assert abs(store.capabilities().clock_offset - timedelta(minutes=minutes)) <= timedelta(seconds=3)


@pytest.mark.parametrize("fault", [Fault(Kind.NOTICE), Fault(Kind.BOM)])
def test_what_php_prints_before_the_json_does_no_harm(fault: Fault) -> None:
    with reading() as read:
        read.shop.fail_next("any", fault, times=None)

        assert read.store().probe()["currency"] == "EUR"


def test_each_question_without_keys_has_an_address_of_its_own_so_that_no_cache_answers_it() -> None:
    with reading() as read:
        for _ in range(2):
            read.store().probe()

        assert len({str(params) for params in read.asked("/wp-json/")}) == 2


def test_a_server_that_drops_the_header_is_given_the_keys_in_the_address_and_that_is_remembered(trust: Trust) -> None:
    with over_tls(trust, strip_authorization=True) as read:
        facts = read.store().probe()
        assert facts["auth"] == "query"

        before = len(read.shop.requests)
        read.store(facts).orders([])
        read.store(facts).orders_of("5")  # type: ignore[arg-type]  # a reference is a text
        assert len(read.shop.requests) == before + 1  # at once with the keys in the address


def test_a_store_whose_server_rewrites_nothing_is_asked_past_that() -> None:
    with reading() as read:
        read.shop.fail_next("index", Fault(Kind.PAGE, status=404))
        store = read.store()
        facts = store.probe()

        assert facts["url"] == f"{read.url}/index.php"
        refs = read.place()
        assert [order.ref for order in store.orders(refs)] == refs
        assert read.store(facts).probe()["url"] == facts["url"]


def test_a_store_in_a_folder_is_found_there() -> None:
    with reading(ShopSettings(path="/winkel")) as read:
        assert read.store().probe()["url"].endswith("/winkel")


def test_a_redirect_within_the_store_is_followed_and_its_end_is_remembered() -> None:
    with reading(ShopSettings(path="/winkel")) as read, far.serving(http(status="301 Moved", location=f"{read.url}/wp-json/?x=1")) as old:
        assert read.store(url=f"http://127.0.0.1:{old.port}").probe()["url"] == read.url
        assert "retour=" in old.lines[0]


@contextmanager
def of_two_names(trust: Trust, typed: str, home: str, *known: str) -> Iterator[tuple[Read, Any, str]]:
    """A store that answers at `known` without redirecting from one to the other, and calls itself `home`; asked at `typed`."""
    with over_tls(trust) as read:
        port = read.url.rpartition(":")[2]
        read.shop.site.url = f"https://{home}:{port}"
        platform = WooPlatform(dev=True, roots=trust.roots, look_up=lambda host, _port: ["127.0.0.1"] if host in known else [])
        url = f"https://{typed}:{port}"
        credentials = {"url": url, "consumer_key": read.keys[0], "consumer_secret": read.keys[1]}
        yield read, platform.connect(platform.shop_at(url), credentials, {}), port


TWO: Final = ("two.example", "www.two.example")


@pytest.mark.parametrize("typed", TWO)
@pytest.mark.parametrize("home", TWO)
def test_a_store_of_two_names_is_asked_under_the_one_that_it_calls_its_own(trust: Trust, typed: str, home: str) -> None:
    with of_two_names(trust, typed, home, *TWO) as (read, store, port):
        assert store.probe()["url"] == f"https://{home}:{port}"

        (ref,) = read.place()
        assert store.order(ref).ref == ref


def test_a_store_whose_own_name_leads_nowhere_is_asked_under_the_one_that_was_typed(trust: Trust) -> None:
    with of_two_names(trust, "www.two.example", "two.example", "www.two.example") as (_, store, port):
        assert store.probe()["url"] == f"https://www.two.example:{port}"


@pytest.mark.parametrize("fault", [Fault(Kind.LOGIN_WALL), Fault(Kind.PAGE, status=404), Fault(Kind.REDIRECT, words="https://x.example/")])
def test_a59_a_name_where_the_keys_are_good_for_nothing_is_not_believed(trust: Trust, fault: Fault) -> None:
    with of_two_names(trust, "www.two.example", "two.example", *TWO) as (read, store, port):
        read.shop.fail_next("settings", fault)  # the first question, and the only one that is asked there

        assert store.probe()["url"] == f"https://www.two.example:{port}"


# ── Misfortunes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def plain(act: Callable[[Read], object] = lambda _: None, settings: ShopSettings | None = None, **switches: bool) -> Opened:
    """A simulated shop over http."""

    @contextmanager
    def opened(_trust: Trust) -> Iterator[Callable[[], Facts]]:
        with reading(settings, **switches) as read:
            act(read)
            yield lambda: read.store().probe()

    return opened


def tls(act: Callable[[Read], object] = lambda _: None, **switches: bool) -> Opened:
    """A simulated shop behind TLS."""

    @contextmanager
    def opened(trust: Trust) -> Iterator[Callable[[], Facts]]:
        with over_tls(trust, None, **switches) as read:
            act(read)
            yield lambda: read.store().probe()

    return opened


def at_fault(where: str, kind: Kind, **how: Any) -> Opened:
    return plain(lambda read: read.shop.fail_next(where, Fault(kind, **how), times=None))


def site(*says: far.Say) -> Opened:
    """Something that is no shop."""

    @contextmanager
    def opened(_trust: Trust) -> Iterator[Callable[[], Facts]]:
        with far.serving(*says) as there:
            yield lambda: _bare(f"http://127.0.0.1:{there.port}").probe()

    return opened


def _bare(url: str, platform: WooPlatform | None = None) -> Any:
    platform = platform or WooPlatform(dev=True)
    return platform.connect(platform.shop_at(url), {"url": url, "consumer_key": "ck_1", "consumer_secret": "cs_1"}, {})


def keys(*, secret: str = "", permissions: str = "", known: bool = True) -> Callable[[Read], object]:
    def change(read: Read) -> None:
        key = read.shop.add_key(permissions or "read_write")
        read.keys = (key[0] if known else "ck_" + "0" * 40, secret or key[1])

    return change


def answers(where: str, body: object, status: int = 200, content_type: str = "application/json") -> Opened:
    return at_fault(where, Kind.ANSWER, words=body if isinstance(body, str) else json.dumps(body), status=status, content_type=content_type)


def elsewhere(url: str) -> Callable[[Read], object]:
    return lambda read: setattr(read.shop.site, "url", url)


def says_http(read: Read) -> None:
    """As `home_url()` has it where WordPress takes the request for one over http."""
    read.shop.site.url = read.url.replace("https:", "http:")


@contextmanager
def nobody(_trust: Trust) -> Iterator[Callable[[], Facts]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield lambda: _bare(f"http://127.0.0.1:{port}").probe()


@contextmanager
def no_such_name(_trust: Trust) -> Iterator[Callable[[], Facts]]:
    yield lambda: _bare("https://shop.example", WooPlatform(look_up=lambda _host, _port: [])).probe()


@contextmanager
def private(_trust: Trust) -> Iterator[Callable[[], Facts]]:
    yield lambda: _bare("https://shop.example", WooPlatform(look_up=lambda _host, _port: ["10.0.0.7"])).probe()


@contextmanager
def stranger(trust: Trust) -> Iterator[Callable[[], Facts]]:
    with far.serving(http(), tls=trust.stranger) as there:
        yield lambda: _bare(f"https://127.0.0.1:{there.port}", WooPlatform(dev=True, roots=trust.roots)).probe()


JSON_ERROR: Final = {"message": "Nein.", "data": {"status": 401}}
CASES: Final[dict[str, tuple[Misfortune, Opened]]] = {
    "nobody listens": (Misfortune.UNREACHABLE, nobody),
    "no such name": (Misfortune.UNREACHABLE, no_such_name),
    "the connection breaks": (Misfortune.UNREACHABLE, at_fault("any", Kind.DROP)),
    "the answer breaks off": (Misfortune.UNREACHABLE, at_fault("system_status", Kind.TRUNCATE)),
    "the server is broken": (Misfortune.UNREACHABLE, at_fault("index", Kind.PAGE, status=502)),
    "PHP dies": (Misfortune.UNREACHABLE, answers("system_status", {"code": "internal_server_error"}, 500)),
    "a private network": (Misfortune.PRIVATE_ADDRESS, private),
    "a stranger's certificate": (Misfortune.BAD_CERTIFICATE, stranger),
    "slow": (Misfortune.SLOW, at_fault("index", Kind.SLOW, seconds=1)),
    "slow for keys": (Misfortune.SLOW, at_fault("system_status", Kind.SLOW, seconds=1)),
    "slow for a change": (Misfortune.SLOW, at_fault("PUT webhook", Kind.SLOW, seconds=1)),
    "byte by byte": (Misfortune.SLOW, at_fault("index", Kind.DRIP, seconds=0.01)),
    "a gateway gave up": (Misfortune.SLOW, at_fault("system_status", Kind.PAGE, status=504)),
    "maintenance": (Misfortune.MAINTENANCE, at_fault("any", Kind.MAINTENANCE)),
    "maintenance begins": (Misfortune.MAINTENANCE, at_fault("system_status", Kind.MAINTENANCE)),
    "maintenance begins late": (Misfortune.MAINTENANCE, at_fault("PUT webhook", Kind.MAINTENANCE)),
    "a firewall": (Misfortune.BLOCKED, at_fault("any", Kind.WAF)),
    "a firewall before keys": (Misfortune.BLOCKED, at_fault("system_status", Kind.WAF)),
    "a firewall before changes": (Misfortune.BLOCKED, at_fault("PUT webhook", Kind.WAF)),
    "a bot check": (Misfortune.BLOCKED, site(http("<title>Just a moment...</title>", "503 x", **HTML, cf_ray="8f2a"))),
    "a login wall before REST": (Misfortune.BLOCKED, at_fault("index", Kind.LOGIN_WALL)),
    "a login wall before keys": (Misfortune.BLOCKED, at_fault("system_status", Kind.LOGIN_WALL)),
    "a password of a staging site": (Misfortune.BLOCKED, at_fault("any", Kind.PAGE, status=401)),
    "too many requests": (Misfortune.BLOCKED, at_fault("settings", Kind.PAGE, status=429)),
    "a plugin locks REST": (Misfortune.BLOCKED, answers("index", {"code": "rest_login_required", **JSON_ERROR}, 401)),
    "a plugin locks what needs keys": (Misfortune.BLOCKED, answers("system_status", {"code": "rest_cannot_access", **JSON_ERROR}, 401)),
    "a plugin forbids what needs keys": (Misfortune.BLOCKED, answers("system_status", {"code": "rest_forbidden", **JSON_ERROR}, 403)),
    "a plugin forbids changes": (Misfortune.BLOCKED, answers("PUT webhook", {"code": "rest_forbidden", **JSON_ERROR}, 403)),
    "a circle": (Misfortune.BLOCKED, at_fault("index", Kind.REDIRECT, words="/wp-json/", status=302)),
    "no WordPress": (Misfortune.NO_REST, site(http("<h1>Hello</h1>", **HTML))),
    "nothing there": (Misfortune.NO_REST, site(http("<h1>404</h1>", "404 Not Found", **HTML))),
    "JSON of something else": (Misfortune.NO_REST, site(http('{"name": "an API"}'))),
    "REST is switched off": (Misfortune.NO_REST, at_fault("index", Kind.PAGE, status=404)),
    "REST of somebody else": (Misfortune.NO_REST, site(http("x", **HTML, link=LINK.format("https://other.example/wp-json/")))),
    "WooCommerce is off": (Misfortune.NO_WOOCOMMERCE, plain(no_v3=True)),
    "WooCommerce goes off": (Misfortune.NO_WOOCOMMERCE, answers("system_status", {"code": "rest_no_route", "message": ""}, 404)),
    "plain permalinks": (Misfortune.PLAIN_PERMALINKS, plain(plain_permalinks=True)),
    "plain permalinks behind TLS": (Misfortune.PLAIN_PERMALINKS, tls(plain_permalinks=True)),
    "TLS ends at a proxy": (Misfortune.TLS_AT_PROXY, tls(says_http, tls_at_proxy=True)),
    "an unknown key": (Misfortune.WRONG_KEYS, plain(keys(known=False))),
    "an unknown key over TLS": (Misfortune.WRONG_KEYS, tls(keys(known=False))),
    "a wrong secret": (Misfortune.WRONG_KEYS, plain(keys(secret="cs_" + "0" * 40))),
    "a wrong secret over TLS": (Misfortune.WRONG_KEYS, tls(keys(secret="cs_" + "0" * 40))),
    "a key that was deleted": (Misfortune.WRONG_KEYS, tls(lambda read: read.shop.revoke(read.keys[0]))),
    "an unknown key where the header is dropped": (Misfortune.WRONG_KEYS, tls(keys(known=False), strip_authorization=True)),
    "a key that may only read": (Misfortune.READ_ONLY_KEYS, plain(keys(permissions="read"))),
    "a key that may only read over TLS": (Misfortune.READ_ONLY_KEYS, tls(keys(permissions="read"))),
    "a key that may only write": (Misfortune.WRONG_KEYS, plain(keys(permissions="write"))),
    "a key that may only write over TLS": (Misfortune.WRONG_KEYS, tls(keys(permissions="write"))),
    "a subscriber's key": (Misfortune.TOO_FEW_RIGHTS, plain(lambda read: read.shop.demote())),
    "a subscriber's key over TLS": (Misfortune.TOO_FEW_RIGHTS, tls(lambda read: read.shop.demote())),
    "it calls itself otherwise": (Misfortune.OTHER_STORE, tls(elsewhere("https://another.example"))),
    "it lies in another folder": (Misfortune.OTHER_STORE, tls(elsewhere("https://127.0.0.1/winkel"))),
    "it sends us elsewhere": (Misfortune.OTHER_STORE, at_fault("index", Kind.REDIRECT, words="http://another.example/wp-json/")),
    "it sends us to a user": (Misfortune.OTHER_STORE, at_fault("index", Kind.REDIRECT, words="http://good@127.0.0.1/wp-json/")),
    "it sends us into a file": (Misfortune.OTHER_STORE, at_fault("index", Kind.REDIRECT, words="file:///etc/passwd")),
    "too old": (Misfortune.TOO_OLD, plain(settings=ShopSettings(version="8.9.3"))),
    "much too old": (Misfortune.TOO_OLD, plain(settings=ShopSettings(version="3.5"))),
    "an index that is cut short": (Misfortune.UNREADABLE, answers("index", '{"namespaces": ["wc/v3"')),
    "an answer that is cut short": (Misfortune.UNREADABLE, answers("system_status", '{"environment": {')),
    "an answer without the facts": (Misfortune.UNREADABLE, answers("system_status", {})),
    "a list in place of the facts": (Misfortune.UNREADABLE, answers("system_status", [])),
    "a version that is none": (Misfortune.UNREADABLE, plain(settings=ShopSettings(version="ten"))),
    "numbers that are none": (Misfortune.UNREADABLE, answers("index", '{"namespaces": ["wc/v3"], "n": NaN}')),
    "a bomb": (Misfortune.UNREADABLE, answers("index", "[" * 50_000)),
    "settings without a mode of tax": (Misfortune.UNREADABLE, answers("settings", [{"id": "woocommerce_calc_taxes", "value": "yes"}])),
    "settings that nobody knows": (Misfortune.UNREADABLE, answers("settings", {"code": "rest_setting_setting_group_invalid"}, 404)),
    "an address that is none": (Misfortune.UNREADABLE, at_fault("index", Kind.REDIRECT, words="http://[x/wp-json/")),
}


@pytest.mark.parametrize("case", CASES)
def test_each_misfortune_is_called_by_its_name(trust: Trust, case: str, request: pytest.FixtureRequest) -> None:
    misfortune, opened = CASES[case]
    if misfortune is Misfortune.SLOW:
        request.getfixturevalue("hurry")
    with opened(trust) as probe:
        assert why(probe) is misfortune


def test_no_misfortune_is_left_out() -> None:
    """An address that is none never becomes a store, and a dropped header is a fact that we live with (`auth`)."""
    apart = {Misfortune.BAD_ADDRESS, Misfortune.STRIPPED_AUTHORIZATION, Misfortune.NO_TLS}

    assert set(Misfortune) - {each for each, _ in CASES.values()} == apart


@contextmanager
def in_public(monkeypatch: pytest.MonkeyPatch, **ports: int) -> Iterator[Callable[[], Facts]]:
    """A store at a public address, as outside development. `p443` and `p80` are where it really listens, nobody where they are left out."""
    genuine = socket.create_connection

    def connect(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
        if address[0] != "93.184.216.34":
            return genuine(address, *rest, **more)
        if f"p{address[1]}" not in ports:
            raise ConnectionRefusedError
        return genuine(("127.0.0.1", ports[f"p{address[1]}"]), *rest, **more)

    monkeypatch.setattr(socket, "create_connection", connect)
    yield lambda: _bare("https://shop.example", WooPlatform(look_up=lambda _host, _port: ["93.184.216.34"])).probe()


def test_a_store_that_answers_over_http_only_has_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with reading() as read, in_public(monkeypatch, p80=int(read.url.rsplit(":", 1)[1])) as probe:
        assert why(probe) is Misfortune.NO_TLS
        assert not any("oauth" in str(each) or "consumer" in str(each) for each in read.shop.requests)


def test_a_store_that_sends_us_on_over_http_only_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with far.serving(http(status="301 Moved", location="https://shop.example/")) as there, in_public(monkeypatch, p80=there.port) as probe:
        assert why(probe) is Misfortune.UNREACHABLE


@pytest.mark.parametrize("there", ["http://shop.example/wp-json/", "http://127.0.0.1/"])
def test_a60_a_redirect_from_https_to_http_is_not_followed(trust: Trust, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    with far.serving(http(status="302 Found", location=there), tls=trust.server) as shop, in_public(monkeypatch, p443=shop.port):
        platform = WooPlatform(roots=trust.roots, look_up=lambda _host, _port: ["93.184.216.34"])
        assert why(_bare("https://shop.example", platform).probe) is Misfortune.NO_TLS
        assert len(shop.requests) == 1


@pytest.mark.parametrize(
    "there", ["https://127.0.0.1/wp-json/", "https://169.254.169.254/", "https://shop.example:8443/wp-json/", "https://[::1]/"]
)
def test_a60_a_redirect_into_a_private_network_or_to_another_port_is_not_followed(
    trust: Trust, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    with far.serving(http(status="302 Found", location=there), tls=trust.server) as shop, in_public(monkeypatch, p443=shop.port):
        platform = WooPlatform(roots=trust.roots, look_up=lambda _host, _port: ["93.184.216.34"])
        assert why(_bare("https://shop.example", platform).probe) is Misfortune.OTHER_STORE
        assert len(shop.requests) == 1


def test_a60_a_name_that_leads_elsewhere_at_the_second_look_is_refused_then(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([["93.184.216.34"], ["127.0.0.1"]])
    once = http(json.dumps({"namespaces": ["wc/v3"]}), connection="close")
    with far.serving(once, tls=trust.server) as shop, in_public(monkeypatch, p443=shop.port):
        platform = WooPlatform(roots=trust.roots, look_up=lambda _host, _port: next(found, ["127.0.0.1"]))
        assert why(_bare("https://shop.example", platform).probe) in {Misfortune.SLOW, Misfortune.PRIVATE_ADDRESS}  # nobody was asked
        assert len(shop.requests) == 1


def test_a_host_with_and_without_www_is_one_store(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = http(status="301 Moved", location="https://www.shop.example/wp-json/")
    with far.serving(moved, tls=trust.server) as shop, in_public(monkeypatch, p443=shop.port):
        platform = WooPlatform(roots=trust.roots, look_up=lambda _host, _port: ["93.184.216.34"])
        assert (
            why(_bare("https://shop.example", platform).probe) is Misfortune.BAD_CERTIFICATE
        )  # it went there, and this one's is no other's


def test_what_misfortunes_tell_is_a_name_and_a_fact_at_most(trust: Trust) -> None:
    for case, detail in {
        "it calls itself otherwise": "another.example",
        "too old": "8.9.3",
        "a wrong secret": "",
        "a firewall": "",
    }.items():
        with CASES[case][1](trust) as probe, pytest.raises(NotConnectable) as met:
            probe()
        assert met.value.detail == detail


def test_after_a_misfortune_the_store_is_well_again_when_it_is(trust: Trust) -> None:
    with over_tls(trust) as read:
        store = read.store()
        read.shop.fail_next("index", Fault(Kind.MAINTENANCE))
        assert why(store.probe) is Misfortune.MAINTENANCE
        assert store.probe()["version"] == "10.5.0"


def test_a_probe_raises_no_error_of_work_where_all_turns_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with reading() as read:
        store = read.store()
        monkeypatch.setattr(client, "_TURN", timedelta(milliseconds=20))
        turns = store._orders.client._line.turns
        assert turns.acquire(timeout=1)
        assert turns.acquire(timeout=1)
        with pytest.raises(Throttled):
            store.orders_of("5")  # type: ignore[arg-type]  # a reference is a text
        assert why(store.probe) is Misfortune.SLOW
        turns.release()
        turns.release()
        assert store.probe()["currency"] == "EUR"


def test_the_versions_that_are_old_enough() -> None:
    for version in ("9.0.0", "9.0", "10.5.0-beta.1", "11.0.0"):
        shop = ShopSettings(version=version)
        with reading(shop) as read:
            assert read.store().probe()["version"] == version


def test_the_address_of_a_shop_is_the_one_that_was_typed() -> None:
    shop = WooShop()
    with shop.serving() as url:
        assert WooPlatform(dev=True).shop_at(url) == ShopDomain(url.removeprefix("http://"))
    shop.close()
