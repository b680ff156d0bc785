"""Who is asking: users, their API keys, and WooCommerce's rules for each way of showing a key (`WC_REST_Authentication`)."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.simulators.woocommerce import oauth
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site

PASSWORD: Final = "password"  # noqa: S105 - everybody's, in a shop that is made up
_MANAGERS: Final = frozenset({"administrator", "shop_manager"})
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asker:
    """The user that a request acts as. 0: nobody."""

    user: int = 0
    manages: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """How a request shows who it is, as PHP sees it: query parameters (the last of a name), and Authorization."""

    method: str
    path: str
    query: Mapping[str, object]
    form: Mapping[str, object]
    authorization: str
    tls: bool


def user(site: Site, name: str, role: str = "administrator") -> Thing:
    """The user of that name, made if missing."""
    with site.shelves.change():
        known = site.shelves.named("user", name)
        if known is None:
            known = {"id": site.shelves.next("user"), "name": name, "role": role}
            site.shelves.put("user", known, name=name)
        return known


def set_role(site: Site, name: str, role: str) -> None:
    """Keys act as their user: a demoted one gets 403."""
    known = user(site, name)
    site.shelves.put("user", known | {"role": role}, name=name)


def manages(site: Site, user_ref: int) -> bool:
    """Whether the user may do what a shop manager may."""
    known = site.shelves.get("user", user_ref)
    return known is not None and known["role"] in _MANAGERS


def add(site: Site, owner: Thing, permissions: str, description: str) -> Thing:
    """A fresh key."""
    key = {"id": site.shelves.next("key"), "user": owner["id"], "permissions": permissions, "description": description, "nonces": {}}
    key |= {"consumer_key": f"ck_{secrets.token_hex(20)}", "consumer_secret": f"cs_{secrets.token_hex(20)}"}
    site.shelves.put("key", key, name=key["consumer_key"])
    return key


def authenticate(site: Site, shown: Shown) -> Asker:
    """Who is asking. Over http only OAuth 1.0a counts: other keys are ignored, as if nobody had shown any. Raises `Problem`."""
    key = _basic(site, shown) if shown.tls else None
    key = key or _oauth(site, shown)
    if key is None:
        return Asker()
    if key["permissions"] not in ("read_write", "read" if shown.method in _READS else "write"):
        lacking = "read" if shown.method in _READS else "write"
        raise _denied(f"The API key provided does not have {lacking} permissions.")
    return Asker(key["user"], manages(site, key["user"]))


def _basic(site: Site, shown: Shown) -> Thing | None:
    """Keys in the query win over Basic."""
    name, secret = shown.query.get("consumer_key"), shown.query.get("consumer_secret")
    if not (name and secret):
        name, secret = _credentials(shown.authorization)
    if not (name and secret):
        return None
    key = site.shelves.named("key", str(name))
    if key is not None and not hmac.compare_digest(key["consumer_secret"].encode(), str(secret).encode()):
        raise _denied("Consumer secret is invalid.")
    return key


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _oauth(site: Site, shown: Shown) -> Thing | None:
    params = oauth.parameters(shown.query, shown.form, shown.authorization)
    if not params:
        return None
    missing = [name for name in oauth.NAMES if not params.get(name)]
    if len(missing) == len(oauth.NAMES):
        return None
    if missing:
        text = f"Missing OAuth parameter{'s' * (len(missing) > 1)} {', '.join(missing)}"
        raise Problem(401, "woocommerce_rest_authentication_missing_parameter", text)
    with site.shelves.change():
        key = site.shelves.named("key", str(params["oauth_consumer_key"]))
        if key is None:
            raise _denied("Consumer key is invalid.")
        wrong = oauth.wrong(
            shown.method, f"{site.url.partition('://')[0]}://{site.url.partition('://')[2].partition('/')[0]}{shown.path}", params, key
        )
        wrong = wrong or oauth.replayed(params, key, int(site.clock().timestamp()))
        if wrong:
            raise _denied(wrong)
        site.shelves.put("key", key, name=key["consumer_key"])
    return key


def _denied(message: str) -> Problem:
    return Problem(401, "woocommerce_rest_authentication_error", message)
