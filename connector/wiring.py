"""The composition root: which platform is which adapter. Nothing else in the project names a concrete one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Final

from adapters.simulators import toy
from adapters.woocommerce import translate
from adapters.woocommerce.platform import WooPlatform
from connector.config import Settings
from connector.db import Database
from connector.domain.orders import Order
from connector.domain.platform import Platform, Store
from connector.secrets import Vault
from connector.services.shops import ShopKeys, unseal

SAMPLES: Final = ("order-taxed-coupon-variation", "order-guest-fees", "order-tax-inclusive-round-at-subtotal")


class UnknownPlatform(LookupError):
    """A shop of a platform that this version does not serve, or not outside development."""


def database(settings: Settings, *, ring: Callable[[], object] | None = None) -> Database:
    """The database of these settings."""
    return Database(settings.database_url, ring=ring, pool=settings.threads + 4)


def vault(settings: Settings) -> Vault:
    """The keys of these settings."""
    return Vault.of(settings.secret_keys, settings.digest_key)


def platforms(settings: Settings) -> Mapping[str, Platform]:
    """The platforms that these settings serve, by name. One set per process: each keeps its connections."""
    woocommerce = WooPlatform(dev=settings.dev)
    return {woocommerce.name: woocommerce}


def opener(settings: Settings, served: Mapping[str, Platform] | None = None) -> Callable[[ShopKeys], Store]:
    """How to open a shop's store with these settings."""
    keys = vault(settings)
    by_name = platforms(settings) if served is None else served

    def store_for(shop: ShopKeys) -> Store:
        if shop.platform in by_name:
            return by_name[shop.platform].connect(shop.domain, unseal(keys, shop), shop.facts)
        if shop.platform == "toy" and settings.dev:
            return toy.connect(shop.domain, unseal(keys, shop), shop.facts)
        raise UnknownPlatform(f"{shop.domain} is a {shop.platform} shop, which is not served here")

    return store_for


def sample_order(name: str) -> Order:
    """A genuine WooCommerce order, translated: one of `SAMPLES`."""
    body = json.loads((files("adapters.simulators.samples") / f"{name}.json").read_text(encoding="utf-8"))
    return translate.order(body, [])
