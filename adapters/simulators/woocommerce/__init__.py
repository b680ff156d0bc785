"""A small WooCommerce shop on localhost that behaves like the real one (10.5), with faults to order.

`WooShop` is the whole of it. The gateway's books (`shop.payments()`) say what really moved, whatever anybody was told.
"""

from adapters.simulators.woocommerce.app import Asked
from adapters.simulators.woocommerce.checkout import Bought, Checkout
from adapters.simulators.woocommerce.faults import STEPS, Fault, Kind
from adapters.simulators.woocommerce.gateway import Paid
from adapters.simulators.woocommerce.keys import PASSWORD
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.settings import GATEWAYS, Gateway, Rate, ShopSettings
from adapters.simulators.woocommerce.shop import WooShop

__all__ = [
    "GATEWAYS",
    "PASSWORD",
    "STEPS",
    "Asked",
    "Bought",
    "Checkout",
    "Fault",
    "Gateway",
    "Kind",
    "Paid",
    "Problem",
    "Rate",
    "ShopSettings",
    "WooShop",
]
