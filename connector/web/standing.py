"""What a merchant is told about a store that was just connected: its facts in an order that people read, and what deserves a look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from connector.domain.connecting import Facts

_CLOCKS_AGREE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Standing:
    """`notes` are codes; the page has a sentence for each."""

    version: str
    currency: str
    taxed: bool | None  # whether prices include tax; None: the store does not say
    gateways: tuple[str, ...]
    time_zone: str
    notes: tuple[str, ...]
    minutes_off: int = 0  # positive: the store's clock is ahead


def standing(facts: Facts) -> Standing:
    """The facts of a probe as a page shows them."""
    gateways = tuple(name for name in facts.get("gateways", "").split(",") if name)
    off = _seconds(facts.get("clock_offset", ""))
    noted = {
        "no_gateway": not gateways,
        "no_coupons": facts.get("coupons") == "no",
        "clock": abs(off) > _CLOCKS_AGREE,
        "no_cron": facts.get("wp_cron") == "no",
        "keys_in_address": facts.get("auth") == "query",
    }
    return Standing(
        version=facts.get("version", ""),
        currency=facts.get("currency", ""),
        taxed={"yes": True, "no": False}.get(facts.get("prices_include_tax", "")),
        gateways=gateways,
        time_zone=facts.get("time_zone", ""),
        notes=tuple(code for code, applies in noted.items() if applies),
        minutes_off=round(off / timedelta(minutes=1)),
    )


def _seconds(text: str) -> timedelta:
    whole = text.partition(".")[0]
    return timedelta(seconds=int(whole)) if whole.removeprefix("-").isdecimal() and len(whole) < 10 else timedelta(0)
