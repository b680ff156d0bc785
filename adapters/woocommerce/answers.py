"""What a store answered, judged by what is now true: strict JSON, WordPress' own error codes, and how long to wait."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn

from adapters.woocommerce.fields import Untranslatable
from connector.domain.platform import OutcomeUnknown, PlatformError, Rejected, Revoked, Throttled

SOON: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(hours=1)
BLOCKED: Final = timedelta(minutes=5)
_DIGITS = re.compile(r"-?[0-9]+")
_CODE = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_TAGS = re.compile(r"<[^<>]*>")
_PERSONAL = re.compile(r"\S+@\S+|c[ks]_[0-9A-Za-z]+|[0-9][0-9 -]{9,}[0-9]")
_STARTS = re.compile(r"[{\[]")
_TRIES: Final = 50
_SAID: Final = 300
_PAGE: Final = 20_000  # as much of a page as is looked at

# WordPress' and WooCommerce's own codes for what they check before anything is done. A refused refund is none of them.
_BEFORE_ANYTHING: Final = frozenset(
    (
        "rest_invalid_param rest_missing_callback_param rest_invalid_json rest_invalid_type rest_no_route rest_forbidden "
        "rest_not_logged_in rest_cookie_invalid_nonce rest_disabled woocommerce_rest_authentication_error "
        "woocommerce_rest_cannot_view woocommerce_rest_cannot_create woocommerce_rest_cannot_edit woocommerce_rest_cannot_delete "
        "woocommerce_rest_cannot_batch woocommerce_rest_shop_order_invalid_id woocommerce_rest_shop_coupon_invalid_id "
        "woocommerce_rest_shop_webhook_invalid_id woocommerce_rest_invalid_coupon woocommerce_rest_coupon_code_already_exists "
        "woocommerce_rest_shop_webhook_invalid_topic woocommerce_rest_shop_webhook_invalid_delivery_url"
    ).split()
)
# The page of `wp_die`, which tells of a critical error too. WordPress writes JSON instead where that was asked for, and not always.
_DIED: Final = re.compile(rb"<body id=[\"']error-page[\"'].*wp-die-message", re.DOTALL)
_GONE: Final = re.compile(r"woocommerce_rest_(invalid_order_id|invalid_order_refund_id|.*_invalid_id|payment_gateway_invalid)", re.ASCII)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_float=str, parse_constant=_refuse)


class NotJson(ValueError):
    """A text that is no JSON that WooCommerce writes."""


class Broken(Untranslatable):
    """The shop's own program failed over this very read, and said so. Nothing was changed, and nothing is said about other reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `status` 0: none, `why` says what came in its place."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = field(default=b"", repr=False)
    written: bool = True  # the request may have left
    why: str = ""

    @property
    def is_json(self) -> bool:
        return "json" in self.headers.get("content-type", "").lower()

    @property
    def json(self) -> object:
        """The document, or None where it is not one."""
        try:
            return parse(self.body) if self.is_json else None
        except NotJson:
            return None

    @property
    def code(self) -> str:
        """WordPress' own code of an error, empty for everything else."""
        found = self.json
        code = found.get("code") if isinstance(found, dict) else None
        return code if isinstance(code, str) and _CODE.fullmatch(code) and self.status >= 400 else ""

    @property
    def words(self) -> str:
        """What it says, for the desk: no markup, nothing that looks personal or secret, short."""
        found = self.json
        said = found.get("message") if isinstance(found, dict) else None
        text = html.unescape(_TAGS.sub(" ", said[:4000])) if isinstance(said, str) else ""
        shown = _PERSONAL.sub("…", " ".join("".join(char if char.isprintable() else " " for char in text).split()))
        kind = self.why or (f"HTTP {self.status}" if self.is_json else f"HTTP {self.status}, no JSON")
        return ": ".join(part for part in (kind, self.code, shown) if part)[:_SAID]


def parse(raw: bytes) -> object:
    """The document; decimals stay the texts that they were written as.

    A byte order mark and what PHP printed before the first brace are passed over, as stores with notices write both.

    Raises:
        NotJson: it is no JSON, is cut off, too deep, or holds numbers that are none.
    """
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    for tried, start in enumerate(_STARTS.finditer(text)):
        if tried == _TRIES:
            break
        try:
            found, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            found, end = None, -1
        if end == len(text):
            return found
        if start.start() == 0:  # it began as a document: what stands inside is not another
            break
    raise NotJson("no JSON")


def retry_after(headers: Mapping[str, str], default: timedelta = SOON) -> timedelta:
    """How long to wait: `Retry-After` in seconds or as a date, at least a second and at most an hour; `default` where it says nothing."""
    said = headers.get("retry-after", "").strip()
    if _DIGITS.fullmatch(said):
        wait = timedelta(seconds=max(-1, min(int(said[:12]), 10**9)))
    else:
        try:
            at = parsedate_to_datetime(said)
        except (TypeError, ValueError, IndexError, OverflowError):
            return default
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return max(timedelta(seconds=1), min(wait, _LONGEST_WAIT))


def of_read(answer: Answer) -> PlatformError:
    """What a read that brought nothing means. It changed nothing, so the worst is that it has to be asked again.

    A complete 500 that WordPress wrote is about what was read: one order can kill PHP. Whatever stands in front of it, or is not
    complete, is about the shop.
    """
    if answer.status == 401 and "_rest_" in f"_{answer.code}":
        return Revoked("the keys were refused")
    if answer.status == 403 and answer.code.startswith("woocommerce_rest_"):
        return Revoked("whoever made the keys may not do this any more")
    if _is_gone(answer):
        return Rejected(answer.code)
    if answer.status == 400 and answer.code:
        return Rejected(answer.words)
    if answer.status == 500 and (answer.code or _DIED.search(answer.body[:_PAGE])):
        return Broken("the answer", answer.words)
    return Throttled(retry_after(answer.headers, BLOCKED if answer.status in (401, 403) else SOON), answer.words)


def of_write(answer: Answer) -> PlatformError:
    """What a write that was not confirmed means. A failure of the server (5xx) is no refusal: the gateway may have been asked before."""
    if not answer.written:
        return Throttled(SOON, answer.why)
    if answer.status == 429:
        return Throttled(retry_after(answer.headers), answer.words)
    if answer.status not in (400, 401, 403, 404) or answer.code not in _BEFORE_ANYTHING:
        return OutcomeUnknown(answer.words)
    if answer.status == 401 or (answer.status == 403 and answer.code.startswith("woocommerce_rest_")):
        return Revoked("the keys were refused")
    if answer.code == "rest_no_route" or answer.status == 403:
        return Throttled(BLOCKED, answer.words)
    return Rejected(answer.words)


def _is_gone(answer: Answer) -> bool:
    """404, or the 500 whose true status stands as a number in `data` (10.5, verified)."""
    if answer.status == 404:
        return _GONE.fullmatch(answer.code) is not None
    found = answer.json
    return answer.status == 500 and _GONE.fullmatch(answer.code) is not None and isinstance(found, dict) and found.get("data") == 404
