"""The composition root: which platform is which adapter. Nothing else in the project names a concrete one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final, TypeAlias

from adapters.simulators import toy
from adapters.woocommerce import translate
from connector.config import Settings
from connector.db import Database
from connector.domain.orders import Order
from connector.domain.platform import ShopDomain, Store
from connector.secrets import Vault
from connector.services.shops import ShopKeys, unseal

Connect: TypeAlias = Callable[[ShopDomain, Mapping[str, str]], Store]

PLATFORMS: Final[Mapping[str, Connect]] = MappingProxyType({"toy": toy.connect})
_ONLY_IN_DEV: Final = frozenset({"toy"})
SAMPLES: Final = ("order-taxed-coupon-variation", "order-guest-fees", "order-tax-inclusive-round-at-subtotal")


class UnknownPlatform(LookupError):
    """A shop of a platform that this version does not serve, or not outside development."""


def database(settings: Settings, *, ring: Callable[[], object] | None = None) -> Database:
    """The database of these settings."""
    return Database(settings.database_url, ring=ring, pool=settings.threads + 4)


def vault(settings: Settings) -> Vault:
    """The keys of these settings."""
    return Vault.of(settings.secret_keys, settings.digest_key)


def opener(settings: Settings) -> Callable[[ShopKeys], Store]:
    """How to open a shop's store with these settings."""
    keys = vault(settings)

    def store_for(shop: ShopKeys) -> Store:
        connect = PLATFORMS.get(shop.platform)
        if connect is None or (shop.platform in _ONLY_IN_DEV and not settings.dev):
            raise UnknownPlatform(f"{shop.domain} is a {shop.platform} shop, which is not served here")
        return connect(shop.domain, unseal(keys, shop))

    return store_for


def sample_order(name: str) -> Order:
    """A genuine WooCommerce order, translated: one of `SAMPLES`."""
    body = json.loads((files("adapters.simulators.samples") / f"{name}.json").read_text(encoding="utf-8"))
    return translate.order(body, [])
