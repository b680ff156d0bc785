"""`python -m connector.demo.shop PORT BOOKS`: the simulated WooCommerce shop, with a front page that shows what happens in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment

from adapters.simulators.woocommerce import WooShop
from adapters.simulators.woocommerce.serving import serving
from connector.demo import pictures, wares
from connector.demo.serving import CSS, HTML, pages, said, sheet
from connector.signals import StopSignals

_WORKERS: Final = 4  # of PHP, as a small shop has
_TICK: Final = 1.0  # seconds between two runs of its scheduler


@dataclass(slots=True)
class Front:
    """The shop's application behind a front page of the demo's own."""

    shop: WooShop
    pages: Environment = field(default_factory=pages)

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI
        """One request: a picture, the front page, or WordPress."""
        path = environ["PATH_INFO"]
        if path.startswith("/wp-content/uploads/"):
            drawn = pictures.drawn(path)
            return said(start, "image/svg+xml", drawn or b"", status="200 OK" if drawn else "404 Not Found")
        if path == "/" and environ["REQUEST_METHOD"] == "GET" and "rest_route" not in environ["QUERY_STRING"]:
            link = ("Link", f'<{self.shop.url}/wp-json/>; rel="https://api.w.org/"')
            return said(start, HTML, self._page().encode(), link)
        if path == "/retour.css":
            return said(start, CSS, sheet())
        return self.shop.app(environ, start)

    def _page(self) -> str:
        orders = [self.shop.order(ref) for ref in sorted(self.shop.orders())]
        coupons = [coupon for coupon in self.shop.coupons() if coupon["code"] != "welcome10"]
        page = self.pages.get_template("shop.html")
        numbers = {order["id"]: order["number"] for order in orders}
        return page.render(name=self.shop.settings.name, orders=orders, numbers=numbers, payments=self.shop.payments(), coupons=coupons)


def opened(books: Path, url: str) -> WooShop:
    """The shop of these books; an empty one is stocked."""
    shop = WooShop(books, settings=wares.SETTINGS)
    shop.pretend_tls = True  # it posts its keys to an address of this machine, without TLS
    shop.site.url = url
    if not shop.orders():
        wares.stock(shop, datetime.now(UTC))
    return shop


def main(port: int, books: Path) -> int:
    """Serve until told to stop."""
    shop = opened(books, f"http://127.0.0.1:{port}")
    front = Front(shop)
    with (
        StopSignals() as signals,
        serving(front, shop.app.arriving, _WORKERS, port, lambda: shop.clock().timestamp()),
        shop.background_scheduler(_TICK),
    ):
        while not signals.wait(60):
            pass
    shop.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), Path(sys.argv[2])))
