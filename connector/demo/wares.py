"""What the demo's shop sells, and who bought it: some dozens of varied orders, the same on every machine but for their dates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from adapters.simulators.woocommerce import Bought, Gateway, Rate, ShopSettings, WooShop

SETTINGS: Final = ShopSettings(
    name="Atelier Nord",
    prices_include_tax=True,
    rates=(Rate("VAT", "21.0000"),),
    gateways=(
        Gateway("test_card", "Credit card", refunds=True),
        Gateway("bacs", "Direct bank transfer"),
        Gateway("cod", "Cash on delivery"),
    ),
)
CARD, TRANSFER, CASH = "test_card", "bacs", "cod"
KIM: Final = "kim@example.com"


@dataclass(frozen=True, slots=True)
class Ware:
    """An article: its price with tax, the picture's shape and its two colours, and the variants that it comes in."""

    sku: str
    title: str
    price: str
    shape: str
    colours: tuple[str, str]
    variants: tuple[str, ...] = ()


WARES: Final = (
    Ware("SCARF", "Wool scarf", "39.00", "scarf", ("#b9c7bd", "#5f8070"), ("Moss", "Rust", "Ink")),
    Ware("SHIRT", "Linen shirt", "74.90", "shirt", ("#e6dccb", "#b3976a"), ("Sand, S", "Sand, M", "White, L")),
    Ware("LAMP", "Desk lamp, brass", "129.00", "lamp", ("#dfe6ee", "#b08d3e")),
    Ware("KETTLE", "Enamel kettle", "54.50", "kettle", ("#dbe7ea", "#37707c"), ("Petrol", "Cream")),
    Ware("MUG", "Stoneware mug", "14.95", "mug", ("#ece4dc", "#8a6a52"), ("Clay", "Chalk")),
    Ware("CHAIR", "Oak chair", "249.00", "chair", ("#efe6d6", "#9b7442")),
    Ware("RUG", "Hemp rug, 140 × 200", "189.00", "rug", ("#e8dfd2", "#a4583c")),
    Ware("SOAP", "Olive soap", "6.50", "soap", ("#e4ead9", "#7f9150")),
    Ware("GIFT-25", "Gift card", "25.00", "card", ("#d9d3e6", "#7a68a6")),
    Ware("POSTER", "Poster, final sale", "12.00", "poster", ("#f0d9d2", "#b4533c")),
)
SHIPPING: Final = "4.95"
FIRST: Final = 1042  # the number of the first order, as a numbering plugin counts them; ids count otherwise


@dataclass(frozen=True, slots=True)
class Sale:
    """An order: (SKU, variant, units) of each line, how many days ago, and what is unusual about it."""

    email: str
    name: str
    lines: tuple[tuple[str, str, int], ...]
    days: int
    country: str = "NL"
    gateway: str = CARD
    status: str = "completed"
    coupon: str = ""
    free_shipping: bool = False
    fees: tuple[tuple[str, str], ...] = ()
    paid: bool = True
    refunded: tuple[str, str] = field(default=("", ""))  # an amount that the merchant gave back in wp-admin, and why


def _sales() -> tuple[Sale, ...]:
    """The first is the one to try. Then one of each kind of trouble, then ordinary ones."""
    scarf, shirt, mug = ("SCARF", "Moss", 2), ("SHIRT", "Sand, M", 1), ("MUG", "Clay", 4)
    odd = (
        Sale(KIM, "Kim de Vries", (scarf, shirt, ("GIFT-25", "", 1)), 6),
        Sale(KIM, "Kim de Vries", (("CHAIR", "", 2),), 9),
        Sale(KIM, "Kim de Vries", (("KETTLE", "Petrol", 1), mug), 64),
        Sale("noor@example.com", "Noor Bakker", (("LAMP", "", 1), ("SOAP", "", 3)), 12, gateway=TRANSFER),
        Sale("sven@example.com", "Sven Lund", (("RUG", "", 1),), 4, country="SE", gateway=CASH),
        Sale("emma@example.com", "Emma Jansen", (shirt, ("SHIRT", "White, L", 1)), 8, coupon="welcome10"),
        Sale("luca@example.com", "Luca Rossi", (mug, ("POSTER", "", 1)), 3, country="IT", fees=(("Gift wrapping", "3.50"),)),
        Sale("mia@example.com", "Mia Weber", (("LAMP", "", 1),), 15, country="DE", refunded=("20.00", "Scratched, kept")),
        Sale("jules@example.com", "Jules Martin", (("CHAIR", "", 4),), 2, country="FR", status="processing"),
        Sale("ana@example.com", "Ana García", (("SOAP", "", 6),), 1, country="ES", status="on-hold", paid=False, gateway=TRANSFER),
        Sale("tom@example.com", "Tom Smit", (("KETTLE", "Cream", 1),), 20, status="cancelled"),
        Sale("siti@example.com", "Siti Rahma", (("SCARF", "Ink", 1), ("MUG", "Chalk", 2)), 10, country="NL", free_shipping=True),
    )
    buyers = (
        "Lotte Visser",
        "Daan Mulder",
        "Fleur Koster",
        "Jens Holm",
        "Ida Berg",
        "Paul Roth",
        "Chiara Conti",
        "Hugo Petit",
        "Lea Braun",
    )
    plain = tuple(
        Sale(
            f"{buyers[place % len(buyers)].split()[0].lower()}@example.com",
            buyers[place % len(buyers)],
            tuple((ware.sku, _variant(ware, place), 1 + (place + nth) % 3) for nth, ware in enumerate(_some(place))),
            5 + place * 2,
        )
        for place in range(28)
    )
    return odd + plain


def _some(place: int) -> tuple[Ware, ...]:
    return tuple(WARES[(place * 3 + nth * 5) % 8] for nth in range(1 + place % 3))


def _variant(ware: Ware, place: int) -> str:
    return ware.variants[place % len(ware.variants)] if ware.variants else ""


SALES: Final = _sales()


def stock(shop: WooShop, now: datetime) -> None:
    """Fill an empty shop: articles with pictures, a coupon, and the orders of the last weeks."""
    articles: dict[tuple[str, str], tuple[int, int]] = {}
    for ware in WARES:
        parent = shop.stock_up(ware.title, ware.price, sku=ware.sku, image=picture(ware.sku))
        articles[ware.sku, ""] = parent, 0
        for variant in ware.variants:
            name, sku = f"{ware.title} - {variant}", f"{ware.sku}-{'-'.join(variant.upper().split(', '))}"
            child = shop.stock_up(name, ware.price, sku=sku, parent=parent, image=picture(ware.sku))
            articles[ware.sku, variant] = parent, child
    shop.add_coupon("welcome10", "10", discount_type="percent")
    for place, sale in enumerate(SALES):
        _sell(shop, sale, articles, number=str(FIRST + place), now=now)


def picture(sku: str) -> str:
    """The path of an article's picture."""
    return f"/wp-content/uploads/{sku.lower()}.svg"


def _sell(shop: WooShop, sale: Sale, articles: dict[tuple[str, str], tuple[int, int]], *, number: str, now: datetime) -> None:
    wares = {ware.sku: ware for ware in WARES}
    bought = []
    for sku, variant, units in sale.lines:
        product, variation = articles[sku, variant]
        title = f"{wares[sku].title} - {variant}" if variant else wares[sku].title
        cents = int(wares[sku].price.replace(".", "")) * units
        bought.append(Bought(title, units, gross=f"{cents // 100}.{cents % 100:02d}", product=product, variation=variation))
    order = shop.place(
        bought,
        email=sale.email,
        name=sale.name,
        country=sale.country,
        gateway=sale.gateway,
        paid=sale.paid,
        number=number,
        status="processing" if sale.status == "cancelled" else sale.status,
        shipping="" if sale.free_shipping else SHIPPING,
        fees=sale.fees,
        coupons=(sale.coupon,) if sale.coupon else (),
        at=now - timedelta(days=sale.days, minutes=37 * sale.days % 600),
    )
    if sale.status == "cancelled":
        shop.cancel(order)
    if sale.refunded[0]:
        shop.refund_in_admin(order, sale.refunded[0], through_gateway=True, reason=sale.refunded[1])
