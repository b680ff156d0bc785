"""What a store is, and why it does not work: asked at install before its keys are trusted, and daily.

Each misfortune is told apart by what the store itself shows; none of them can be told from an error's text, which is translated.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Final
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import requests

from adapters.woocommerce import guard, wire
from adapters.woocommerce.answers import Answer
from adapters.woocommerce.client import READ, USER_AGENT, Client
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import supports_refunds
from adapters.woocommerce.wire import Call, Wire
from connector.domain.connecting import Facts, Misfortune, NotConnectable
from connector.domain.platform import Overdue, Throttled

OLDEST: Final = (9, 0)
LONGEST: Final = timedelta(seconds=60)  # of a whole probe
_HOPS: Final = 4
_LONGEST_NAME: Final = 80
_FRESH: Final = "retour"  # WordPress passes over a parameter that it does not know
_OWN: Final = "woocommerce_rest_"  # how WooCommerce's own codes begin; a security plugin has others
_LINK = re.compile(r'<([^<>\s]{1,2000})>\s*;\s*rel="https://api\.w\.org/"')
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})[0-9A-Za-z.+-]{0,30}", re.ASCII)
# Store credit by plugins, as namespaces of the REST index and as folders of plugins.
_CREDIT: Final = {
    "terawallet/v1": "terawallet",
    "woo-wallet": "terawallet",
    "wc-store-credits/v1": "advanced-coupons",
    "advanced-coupons-for-woocommerce-free": "advanced-coupons",
    "advanced-coupons-for-woocommerce": "advanced-coupons",
    "wc/v3/sc": "smart-coupons",
    "woocommerce-smart-coupons": "smart-coupons",
    "woocommerce-gift-cards": "gift-cards",
    "wc-pimwick/v1": "pw-gift-cards",
    "pw-gift-cards": "pw-gift-cards",
    "pw-woocommerce-gift-cards": "pw-gift-cards",
    "yith-woocommerce-gift-cards": "yith-gift-cards",
}


def probe(client: Client, credentials: Mapping[str, str], *, dev: bool) -> tuple[Client, Facts]:
    """The store at the client's address, asked with its keys: a client at the address that it really has, and its facts.

    Raises:
        NotConnectable: with the misfortune's name.
    """
    try:
        facts = _facts(client.within(LONGEST), credentials, dev=dev)
    except Overdue:
        raise NotConnectable(Misfortune.SLOW) from None
    return client.at(facts["url"]), facts


def _facts(client: Client, credentials: Mapping[str, str], *, dev: bool) -> dict[str, str]:
    url, index, clock_offset = _index(client.wire, client.url, dev=dev)
    there = client.at(url)
    if not isinstance(index.table().get("namespaces"), list):
        raise NotConnectable(Misfortune.NO_REST)
    namespaces = [each for each in _list(index, "namespaces") if isinstance(each, str)]
    if "wc/v3" not in namespaces:
        raise NotConnectable(Misfortune.NO_WOOCOMMERCE)
    try:
        status = _status(there)
        _may_write(there, credentials)
        environment = _environment(status, url)
        there = _at_home(there, status)
        return {
            "url": there.url,
            "name": _name(index),
            "tells_of_refunds": "yes",  # it writes to the shopper about each refund, and REST cannot keep it from that (10.5)
            "auth": "query" if there.by_query else "basic",
            "clock_offset": str(clock_offset),
            **_zone(index),
            **environment,
            **_settings(there),
            "gateways": _gateways(there),
            "plugins": ",".join(sorted(set(_plugins(namespaces, status)))),
        }
    except Untranslatable as error:
        raise NotConnectable(Misfortune.UNREADABLE, error.key) from error


# ── Without keys ────────────────────────────────────────────────────────────────────────────────────────────────────


def _index(over: Wire, url: str, *, dev: bool) -> tuple[str, At, int]:
    """The base of the store, its REST index, and by how many seconds its clock is ahead of ours."""
    got, at = _follow(over, f"{url}/wp-json/", url, dev=dev)
    if got.status == 200 and isinstance(got.json, dict) and (base := _base(at)):
        return base, At(got.json), _ahead(got)
    _refused(got)
    root = _root(*_follow(over, f"{url}/", url, dev=dev))
    if "rest_route=" in root:
        raise NotConnectable(Misfortune.PLAIN_PERMALINKS)
    if not _base(root) or not _related(root, url, dev=dev):
        raise NotConnectable(Misfortune.NO_REST)
    if _base(root) == _base(at) and got.status == 200:  # WordPress says that it is there, and a page came
        raise NotConnectable(Misfortune.BLOCKED)
    if _base(root) == _base(at):  # the web server rewrites nothing; this way it need not (10.5, verified)
        root = f"{_base(root)}/index.php/wp-json/"
    got, at = _follow(over, root, url, dev=dev)
    if got.status != 200 or not isinstance(got.json, dict) or not (base := _base(at)):
        _refused(got)
        raise NotConnectable(Misfortune.NO_REST)
    return base, At(got.json), _ahead(got)


def _follow(over: Wire, url: str, typed: str, *, dev: bool) -> tuple[Answer, str]:
    """GET without keys, through redirects that stay with this store; each hop is checked by the guard. And where it ended."""
    for _ in range(_HOPS):
        got = _get(over, url, dev=dev)
        if got.status not in {301, 302, 303, 307, 308} or not got.headers.get("location"):
            return got, url
        url = _joined(url, got.headers["location"])
        if not dev and urlsplit(url).scheme == "http":
            raise NotConnectable(Misfortune.NO_TLS)
        if not _related(url, typed, dev=dev):
            raise NotConnectable(Misfortune.OTHER_STORE, (urlsplit(url).hostname or "")[:200])
    raise NotConnectable(Misfortune.BLOCKED)


def _joined(url: str, named: str) -> str:
    """An address that the store named. Raises `NotConnectable` where it is none."""
    try:
        found = urlsplit(urljoin(url, named))
    except ValueError:
        raise NotConnectable(Misfortune.UNREADABLE) from None
    echoed = [each for each in found.query.split("&") if each and not each.startswith(f"{_FRESH}=")]
    return found._replace(query="&".join(echoed), fragment="").geturl()


def _get(over: Wire, url: str, *, dev: bool) -> Answer:
    got = _send(over, url)
    if got.status == 0 and got.why == wire.BAD_CERTIFICATE:
        raise NotConnectable(Misfortune.BAD_CERTIFICATE)
    if got.status == 0 and got.why == wire.TOO_SLOW:
        raise NotConnectable(Misfortune.SLOW)
    if got.status == 0:
        plain = urlsplit(url)._replace(scheme="http").geturl()
        answers_plainly = not dev and url.startswith("https:") and _send(over, plain).status in range(200, 300)
        raise NotConnectable(Misfortune.NO_TLS if answers_plainly else Misfortune.UNREACHABLE)
    return got


def _send(over: Wire, url: str) -> Answer:
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json, text/html;q=0.5",
        "Accept-Encoding": "gzip",
        "Cache-Control": "no-cache",
    }
    # Some hosts keep what /wp-json says for minutes, its time of day included.
    return over.send(requests.Request("GET", url, headers=headers, params={_FRESH: secrets.token_hex(4)}), Call(READ, over.guard))


def _related(url: str, typed: str, *, dev: bool) -> bool:
    """The same host, or that host with or without `www.`; with https, the same port."""
    try:
        new, old = guard.address(url.partition("?")[0], dev=dev), guard.address(typed, dev=dev)
    except NotConnectable:
        return False
    return new.host.removeprefix("www.") == old.host.removeprefix("www.") and (new.port == old.port or dev)


def _base(root: str) -> str:
    """The base of a store whose REST index stands at `root`; empty where that is none."""
    parts = urlsplit(root)
    found = parts._replace(query="", fragment="").geturl().rstrip("/")
    return found.removesuffix("/wp-json") if found.endswith("/wp-json") else ""


def _root(got: Answer, at: str) -> str:
    """Where a page says that WordPress' REST interface is."""
    found = _LINK.search(got.headers.get("link", ""))
    if found is None:
        _refused(got)
        raise NotConnectable(Misfortune.NO_REST)
    return _joined(at, found[1])


def _refused(got: Answer) -> None:
    """What answers in the store's place. Raises `NotConnectable` where it is known."""
    if got.status == 200 and got.is_json and got.json is None:
        raise NotConnectable(Misfortune.UNREADABLE)
    text = got.body[:20_000].decode("utf-8", "replace").lower()
    challenge = "cf-ray" in got.headers and "just a moment" in text
    if got.status == 503 and not challenge:
        raise NotConnectable(Misfortune.MAINTENANCE)
    if got.status in {401, 403, 406, 418, 429, 451} or challenge:
        raise NotConnectable(Misfortune.BLOCKED)
    if got.status in {504, 522, 524}:
        raise NotConnectable(Misfortune.SLOW)
    if got.status >= 500:
        raise NotConnectable(Misfortune.UNREACHABLE, f"HTTP {got.status}")


def _ahead(got: Answer) -> int:
    try:
        at = parsedate_to_datetime(got.headers.get("date", ""))
        seconds = int(((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0
    return seconds if abs(seconds) < 10**8 else 0


# ── With keys ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ask(client: Client, path: str, fields: str = "") -> At:
    try:
        got = client.answer(path, {"_fields": fields} if fields else None)
    except Throttled:
        raise NotConnectable(Misfortune.SLOW) from None
    found = got.json
    if got.status == 200 and found is not None:
        return At(found)
    if got.status == 401 and got.code.startswith(_OWN):
        raise NotConnectable(_why_unauthorized(client, got))
    if got.status == 403 and got.code.startswith(_OWN):
        raise NotConnectable(Misfortune.TOO_FEW_RIGHTS)
    if got.status == 404 and got.code == "rest_no_route":
        raise NotConnectable(Misfortune.NO_WOOCOMMERCE)
    _unanswered(got)
    _refused(got)
    raise NotConnectable(Misfortune.BLOCKED if not got.is_json else Misfortune.UNREADABLE)


def _unanswered(got: Answer) -> None:
    if got.status == 0:
        raise NotConnectable(Misfortune.SLOW if got.why == wire.TOO_SLOW else Misfortune.UNREACHABLE)


def _why_unauthorized(client: Client, got: Answer) -> Misfortune:
    """Keys that are refused look the same as keys that never arrive (10.5).

    A store that thinks it is asked over http gives itself away: it takes a signature over an http address, and only then.
    """
    if got.code == "woocommerce_rest_authentication_error":  # a wrong secret, and a key that may only write
        return Misfortune.WRONG_KEYS
    try:
        is_plain = client.signed_as_http("system_status").status not in (0, 401)
    except Throttled:
        raise NotConnectable(Misfortune.SLOW) from None
    return Misfortune.TLS_AT_PROXY if is_plain else Misfortune.WRONG_KEYS


def _status(client: Client) -> At:
    return _ask(client, "system_status", "environment,settings,security,active_plugins")


def _may_write(client: Client, credentials: Mapping[str, str]) -> None:
    """A key's permission is checked before anything else (10.5), so a change of webhook 0, which no store has, finds out."""
    if credentials.get("permissions") == "read":
        raise NotConnectable(Misfortune.READ_ONLY_KEYS)
    try:
        got = client.ask("PUT", "webhooks/0", {}, patience=READ)
    except Throttled:
        raise NotConnectable(Misfortune.SLOW) from None
    if got.status == 401 and got.code.startswith(_OWN):
        raise NotConnectable(Misfortune.READ_ONLY_KEYS)
    if got.status == 403 and got.code.startswith(_OWN):
        raise NotConnectable(Misfortune.TOO_FEW_RIGHTS)
    if got.status in (401, 403) or not got.code:
        _unanswered(got)
        _refused(got)
        raise NotConnectable(Misfortune.BLOCKED)


def _environment(status: At, url: str) -> dict[str, str]:
    found = status.key("environment")
    version = found.text("version")
    parsed = _VERSION.match(version)
    if parsed is None:
        found.key("version").refuse("no version")
    if (int(parsed[1]), int(parsed[2])) < OLDEST:
        raise NotConnectable(Misfortune.TOO_OLD, parsed[0])
    home = found.text("home_url")
    if not _is_same_store(home, url):
        raise NotConnectable(Misfortune.OTHER_STORE, (urlsplit(home).hostname or "")[:200])
    settings = status.key("settings")
    return {
        "version": version[:40],
        "wp_version": found.text_or_nothing("wp_version")[:40],
        "store_id": found.text_or_nothing("store_id")[:80],
        "wp_cron": "yes" if found.table().get("wp_cron") is True else "no",
        "hpos": "yes" if settings.table().get("HPOS_enabled") is True else "no",
        "currency": settings.text("currency"),
        "decimals": str(settings.whole("number_of_decimals", lowest=0)),
    }


def _is_same_store(home: str, url: str) -> bool:
    """Whether a store that calls itself `home` is the one at `url`, whatever the scheme, `www.`, and a missing rewrite rule."""
    try:
        named, asked = (guard.address(each, dev=True) for each in (home, url.removesuffix("/index.php")))
    except NotConnectable:
        return False
    hosts = {each.host.removeprefix("www.") for each in (named, asked)}
    return len(hosts) == 1 and named.path == asked.path and (named.port == asked.port or not (named.port and asked.port))


def _at_home(client: Client, status: At) -> Client:
    """A store that answers with and without `www.` is one store: asked under the host that it calls its own, if its keys are good there.

    WordPress itself redirects pages from one to the other, and never what asks its REST interface.
    """
    home, asked = (guard.address(each, dev=True).host for each in (status.key("environment").text("home_url"), client.url))
    if home == asked:
        return client
    parts = urlsplit(client.url)
    there = client.at(parts._replace(netloc=f"{home}:{parts.port}" if parts.port else home).geturl())
    with suppress(Throttled):
        got = there.answer("settings/tax/woocommerce_prices_include_tax")  # a short one that nobody sees without keys
        if got.status == 200 and isinstance(got.json, dict):
            return there
    return client


def _settings(client: Client) -> dict[str, str]:
    tax, general = _options(client, "settings/tax"), _options(client, "settings/general")
    inclusive = tax.get("woocommerce_prices_include_tax")
    if inclusive not in ("yes", "no"):  # what a coupon is worth hangs on it
        raise Untranslatable("woocommerce_prices_include_tax", "neither yes nor no")
    return {
        "prices_include_tax": _yes(inclusive),
        "round_at_subtotal": _yes(tax.get("woocommerce_tax_round_at_subtotal")),
        "coupons": _yes(general.get("woocommerce_enable_coupons", "yes")),
    }


def _options(client: Client, path: str) -> dict[str, object]:
    return {option.text("id"): option.table().get("value") for option in _ask(client, path, "id,value").items()}


def _yes(value: object) -> str:
    return "yes" if value == "yes" else "no"


def _gateways(client: Client) -> str:
    found = [gateway.text("id") for gateway in _ask(client, "payment_gateways").items() if supports_refunds(gateway)]
    return ",".join(sorted(each for each in found if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", each)))


def _name(index: At) -> str:
    """What the store calls itself; WordPress writes it as HTML."""
    said = unescape(index.text_or_nothing("name")) if isinstance(index.table().get("name"), str) else ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())[:_LONGEST_NAME]


def _zone(index: At) -> dict[str, str]:
    """The shop's time zone by name. A shop that only knows its distance from Greenwich has no name for it."""
    offset = str(index.table().get("gmt_offset", ""))[:10]
    try:
        name = ZoneInfo(index.text_or_nothing("timezone_string") or "nowhere").key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return {"time_zone": "UTC", "gmt_offset": offset}
    return {"time_zone": name}


def _plugins(namespaces: list[str], status: At) -> Iterator[str]:
    folders = [str(plugin.get("plugin")).partition("/")[0] for plugin in _list(status, "active_plugins") if isinstance(plugin, dict)]
    for name in (*namespaces, *folders):
        if name in _CREDIT:
            yield _CREDIT[name]


def _list(at: At, name: str) -> list[object]:
    found = at.table().get(name)
    return found if isinstance(found, list) else []
