"""What the tests of the simulated WooCommerce shop share: genuine samples, a client of bare requests, and a comparison of shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests

from adapters.simulators.woocommerce import WooShop

_DATA: Final = Path(__file__).resolve().parent.parent / "data" / "woocommerce"
_SAMPLES: Final = Path(__file__).resolve().parents[2] / "adapters" / "simulators" / "samples"
# What differs between any two shops, orders or days.
FREE: Final = frozenset(
    {
        "id",
        "parent_id",
        "number",
        "order_key",
        "payment_url",
        "href",
        "product_id",
        "variation_id",
        "transaction_id",
        "refunded_by",
        "value",
        "display_value",
    }
)


def sample(name: str) -> Any:
    """A genuine payload by file name."""
    place = _DATA / f"{name}.json"
    return json.loads((place if place.exists() else _SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@dataclass(slots=True)
class Clock:
    """A clock that tests turn."""

    now: datetime = datetime(2026, 11, 21, 19, 29, 52, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class Client:
    """Asks as over https: with the keys as Basic. `last` is the answer that came last."""

    shop: WooShop
    url: str
    key: tuple[str, str]
    timeout: float = 10
    last: requests.Response = field(init=False)

    def ask(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """The JSON of the answer, whatever its status."""
        headers = {} if body is None else {"Content-Type": "application/json;charset=utf-8"}
        sent = None if body is None else json.dumps(body).encode()
        given = {name: str(value) for name, value in params.items()}
        whole = f"{self.url}/wp-json/wc/v3/{path}"
        self.last = requests.request(
            method, whole, params=given, data=sent, headers=headers, auth=self.key, timeout=self.timeout, allow_redirects=False
        )
        return self.last.json()

    def get(self, path: str, **params: object) -> Any:
        return self.ask("GET", path, **params)

    def post(self, path: str, body: object) -> Any:
        return self.ask("POST", path, body)

    def put(self, path: str, body: object) -> Any:
        return self.ask("PUT", path, body)


def differences(ours: object, genuine: object, free: frozenset[str] = FREE, at: str = "") -> list[str]:
    """Where two answers differ: in keys and their order, in types, and in values that are not free to differ."""
    if isinstance(genuine, Mapping) and isinstance(ours, Mapping):
        if list(ours) != list(genuine):
            return [f"{at}: {list(ours)} where {list(genuine)} was expected"]
        return [one for key in genuine for one in differences(ours[key], genuine[key], free, f"{at}.{key}")]
    if isinstance(genuine, list) and isinstance(ours, list):
        if len(ours) != len(genuine):
            return [f"{at}: {len(ours)} of {len(genuine)}"]
        return [one for place, pair in enumerate(zip(ours, genuine, strict=True)) for one in differences(*pair, free, f"{at}[{place}]")]
    if _kind(ours) != _kind(genuine):
        return [f"{at}: {ours!r} where {genuine!r} was expected"]
    name = at.rpartition(".")[2].partition("[")[0]
    return [] if ours == genuine or name in free or name.startswith("date_") else [f"{at}: {ours!r} where {genuine!r} was expected"]


def _kind(value: object) -> str:
    """PHP writes whole floats without a point, so a number is a number."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
