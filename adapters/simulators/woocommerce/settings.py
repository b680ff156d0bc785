"""What the merchant has set up in wp-admin."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta, timezone, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo


class Rate(NamedTuple):
    """A tax rate, in percent. Its id is its place in the list, counted from 1."""

    label: str
    percent: str
    compound: bool = False
    region: str = ""  # "CA-QC"


class Gateway(NamedTuple):
    """A payment method. Only some can send money back."""

    id: str
    title: str
    refunds: bool = False
    enabled: bool = True


GATEWAYS: Final = (
    Gateway("test_card", "Card", refunds=True),
    Gateway("examplepay", "Card", refunds=True),
    Gateway("bacs", "Direct bank transfer"),
    Gateway("cheque", "Check payments", enabled=False),
    Gateway("cod", "Cash on delivery"),
)


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The settings of a shop. `path` is the folder that it is installed in ("/shop"), `plugins` are namespaces of plugins."""

    currency: str = "EUR"
    decimals: int = 2
    prices_include_tax: bool = False
    round_at_subtotal: bool = False
    rates: tuple[Rate, ...] = (Rate("vat", "21.0000"),)
    time_zone: str = "Europe/Amsterdam"
    hpos: bool = True
    version: str = "10.5.0"
    wp_version: str = "6.9.7"
    gateways: tuple[Gateway, ...] = GATEWAYS
    path: str = ""
    name: str = "Simulated shop"
    store_id: str = "e52d3cae-31b3-45df-a354-b4a88ab82c5f"
    plugins: tuple[str, ...] = ()
    wp_cron: bool = True
    coupons: bool = field(default=True, kw_only=True)  # "Enable the use of coupon codes"
    prefix: str = field(default="", kw_only=True)  # what a numbering plugin puts before the order number

    def gateway(self, name: str) -> Gateway | None:
        """The payment method, if its plugin is there."""
        return next((one for one in self.gateways if one.id == name), None)

    def zone(self) -> tzinfo:
        """The time zone: a place, or a bare offset ("UTC+02:00")."""
        if not self.time_zone.startswith(("UTC+", "UTC-")):
            return ZoneInfo(self.time_zone)
        hours, _, minutes = self.time_zone[4:].partition(":")
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(offset if self.time_zone[3] == "+" else -offset)
