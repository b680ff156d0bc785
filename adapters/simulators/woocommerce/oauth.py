"""OAuth 1.0a as WooCommerce checks it, its own way of escaping included: parameters are escaped, joined and escaped again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

NAMES: Final = ("oauth_consumer_key", "oauth_timestamp", "oauth_nonce", "oauth_signature", "oauth_signature_method")
_WINDOW: Final = 15 * 60  # seconds
_HEADER: Final = re.compile(r'(oauth_[a-z_-]*)=(?::?"([^"]*)"|([^,]*))')
_METHODS: Final = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}


def parameters(query: Mapping[str, object], form: Mapping[str, object], authorization: str) -> dict[str, object]:
    """Everything that is signed: the query, a posted form, and an OAuth header."""
    found = {**query, **form}
    if authorization.startswith("OAuth "):
        found |= {name: unquote(quoted or bare) for name, quoted, bare in _HEADER.findall(authorization)}
    return found


def wrong(method: str, url: str, params: Mapping[str, object], key: Mapping[str, Any]) -> str:
    """What is wrong with the signature, or nothing. A client that signs `/` unescaped, or a list, is refused (10.5, verified)."""
    given = unquote(str(params["oauth_signature"]).replace(" ", "+"))
    signed = {name: params[name] for name in sorted(params) if name != "oauth_signature"}
    algorithm = _METHODS.get(str(params["oauth_signature_method"]))
    if algorithm is None:
        return "Invalid signature - signature method is invalid."
    text = f"{method}&{_escaped(url)}&{'%26'.join(_joined(signed))}"
    right = base64.b64encode(hmac.new(f"{key['consumer_secret']}&".encode(), text.encode(), algorithm).digest())
    return "" if hmac.compare_digest(right, given.encode()) else "Invalid signature - provided signature does not match."


def replayed(params: Mapping[str, object], key: Mapping[str, Any], now: int) -> str:
    """What is wrong with the time, or with a nonce that was seen in the last quarter of an hour. Remembers the nonce."""
    text, nonce = str(params["oauth_timestamp"]), str(params["oauth_nonce"])
    stamp = int(text) if text.isdecimal() else 0
    if abs(now - stamp) > _WINDOW:
        return "Invalid timestamp."
    nonces: dict[str, str] = key["nonces"]
    if nonce in nonces.values():
        return "Invalid nonce - nonce has already been used."
    nonces[str(stamp)] = nonce  # one a second is remembered: WooCommerce keeps them by their time
    for seen in [seen for seen in nonces if int(seen) < now - _WINDOW]:
        del nonces[seen]
    return ""


def _joined(params: Mapping[str, object], inside: str = "") -> Iterator[str]:
    for name, value in params.items():
        whole = f"{inside}%5B{name}%5D" if inside else _escaped(name)
        if isinstance(value, Mapping):
            yield from _joined(value, whole)
        else:
            yield _escaped(f"{whole}={_escaped(str(value))}")


def _escaped(text: str) -> str:
    return quote(text, safe="~")
