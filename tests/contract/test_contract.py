"""The contract of a store, held by every store there is: the toy, the simulators, and a genuine one where the environment names it.

A genuine store that nobody named is not skipped: it is no subject.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import pytest

from adapters.simulators.toy import Proof
from adapters.simulators.woocommerce import ShopSettings
from tests.contract import woo_shop
from tests.contract.store_contract import StoreContract, Subject
from tests.contract.toy_shop import toy


def _subjects() -> Mapping[str, Callable[[], AbstractContextManager[Subject]]]:
    found: dict[str, Callable[[], AbstractContextManager[Subject]]] = {
        "toy-replay": partial(toy, Proof.REPLAY),
        "toy-fence": partial(toy, Proof.FENCE),
        "woocommerce-net": partial(woo_shop.simulated, ShopSettings()),
        "woocommerce-gross": partial(woo_shop.simulated, ShopSettings(prices_include_tax=True)),
        "woocommerce-before-10": partial(woo_shop.simulated, ShopSettings(prices_include_tax=True, version="9.4.3", wp_version="6.8.12")),
        "woocommerce-without-coupons": partial(woo_shop.simulated, ShopSettings(coupons=False)),
    }
    if any(os.environ.get(name) for name in woo_shop.GENUINE):
        found["woocommerce-genuine"] = woo_shop.genuine
    return found


_SUBJECTS: Final = _subjects()


@pytest.fixture(scope="module", params=_SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with _SUBJECTS[request.param]() as subject:
        yield subject


class TestStore(StoreContract):
    """Each behaviour, for each subject."""
