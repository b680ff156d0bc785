"""WooCommerce before 10 shows the tax of each rate with all digits that it stores (9.4, verified): read as later versions show it."""

from __future__ import annotations

import pytest

from adapters.simulators.woocommerce import Bought, Rate, ShopSettings, WooShop
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.translate import order
from connector.domain.orders import RateRef, Tax, Worth

_TWO_RATES = (Rate("state", "4.0000"), Rate("city", "5.0000"))


@pytest.mark.parametrize(
    ("shown", "places", "minor"),
    [
        ("6.2937", 2, 629),
        ("5.201405", 2, 520),
        ("1.735537", 2, 174),
        ("0.735", 2, 74),
        ("0.734999", 2, 73),
        ("-0.735", 2, -74),
        ("-6.2937", 2, -629),
        ("6.29", 2, 629),
        ("6.3", 2, 630),
        ("6", 2, 600),
        (7, 2, 700),
        ("103.5", 0, 104),
        ("1.2345", 3, 1235),
        ("0.000049", 2, 0),
    ],
)
def test_an_amount_with_more_digits_is_rounded_half_away_from_zero(shown: object, places: int, minor: int) -> None:
    assert At({"total": shown}).rounded("total", places) == minor


@pytest.mark.parametrize("shown", ["6,2937", "", "1e-05", "1.2.3", "+1.005", ".005", "1." + "1" * 40, None, 6.2937, True, [], "9" * 30])
def test_a36_what_is_no_plain_amount_is_refused_also_where_it_would_be_rounded(shown: object) -> None:
    with pytest.raises(Untranslatable) as refused:
        At({"total": shown}, "tax").rounded("total", 2)

    assert refused.value.key == "tax.total"


@pytest.mark.parametrize(("version", "digits"), [("9.4.3", "6.2937"), ("10.2.4", "6.29")])
def test_the_simulated_shop_shows_taxes_as_its_version_does(version: str, digits: str) -> None:
    shop = WooShop(settings=ShopSettings(version=version))

    body = shop.order(shop.place([Bought("Mug", 3, net="29.97")]))

    assert [tax["total"] for tax in body["line_items"][0]["taxes"]] == [digits]
    assert body["line_items"][0]["total_tax"] == body["total_tax"] == "6.29"
    shop.close()


@pytest.mark.parametrize("inclusive", [False, True])
def test_an_order_is_worth_the_same_whichever_version_shows_it(inclusive: bool) -> None:
    found = []
    for version in ("9.4.3", "10.5.0"):
        shop = WooShop(settings=ShopSettings(version=version, rates=_TWO_RATES, prices_include_tax=inclusive))
        ref = shop.place([Bought("Mug", 3, gross="29.97")], shipping="4.95", fees=[("Wrapping", "14.70")])
        made = order(shop.order(ref), [])
        found.append((made.total, [*(line.worth for line in made.lines), *(charge.worth for charge in (*made.shipping, *made.fees))]))
        shop.close()

    assert found[0] == found[1]
    assert Worth(1470, (Tax(RateRef("1"), 59), Tax(RateRef("2"), 74))) in found[0][1]
