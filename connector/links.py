"""Addresses of hosted pages and the tokens in them: for pages, mail and jobs alike.

An RMA's number is printed on the parcel and proves nothing. Its status page opens for a *visit* (half an hour, after a look-up or a
submit) and for the secret of a *link* (mailed, kept as a digest, revocable).
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import quote, urlencode

from connector.domain.orders import OrderRef
from connector.secrets import BadLink, Vault

VISIT_LIVES: Final = timedelta(minutes=30)
SIGN_IN_LIVES: Final = timedelta(minutes=30)
PORTAL: Final = "/returns"
DESK: Final = "/desk"


@dataclass(frozen=True, slots=True)
class Visit:
    """A guest who named an order and the address that it was bought with. Nobody can read it out of the token that carries it."""

    order: OrderRef
    email: str = field(repr=False)


def open_visit(vault: Vault, shop: uuid.UUID, token: str) -> Visit:
    """The visit of this shop that a token carries. Raises `BadLink`, `ExpiredLink`."""
    values = vault.unseal("visit", shop.hex, token, VISIT_LIVES)
    if values.keys() != {"order", "email"}:
        raise BadLink("not a visit")
    return Visit(OrderRef(values["order"]), values["email"])


def seal_visit(vault: Vault, shop: uuid.UUID, visit: Visit) -> str:
    """The token of a visit, good for half an hour."""
    return vault.seal("visit", shop.hex, {"order": visit.order, "email": visit.email})


def secret() -> str:
    """What a link proves: 128 random bits, kept as a digest alone."""
    return secrets.token_urlsafe(16)


def portal(handle: str) -> str:
    """The path of a shop's returns page."""
    return f"{PORTAL}/{quote(handle, safe='')}"


def status(handle: str, number: str, secret_of_link: str) -> str:
    """The path of an RMA's status page for whoever holds its link."""
    return f"{portal(handle)}/{quote(number, safe='')}?{urlencode({'link': secret_of_link})}"


def desk(handle: str) -> str:
    """The path of a shop's desk."""
    return f"{DESK}/{quote(handle, safe='')}"


def sign_in(handle: str, secret_of_link: str) -> str:
    """The path of the page whose button signs a member of staff in, once."""
    return f"{desk(handle)}/enter?{urlencode({'link': secret_of_link})}"
