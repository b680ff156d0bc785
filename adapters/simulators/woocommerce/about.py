"""What the shop says about itself: index, system status, settings, gateways and tax rates."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from adapters.simulators.woocommerce.amounts import raw
from adapters.simulators.woocommerce.render import Body, links
from adapters.simulators.woocommerce.settings import Gateway, Rate
from adapters.simulators.woocommerce.site import Site

_HPOS: Final = "Automattic\\WooCommerce\\Internal\\DataStores\\Orders\\OrdersTableDataStore"
_POSTS: Final = "WC_Order_Data_Store_CPT"
_NAMESPACES: Final = ("oembed/1.0", "wc-admin", "wc-analytics", "wc/store", "wc/store/v1", "wc/v1", "wc/v2", "wc/v3", "wc/private", "wp/v2")


def index(site: Site, *, v3: bool) -> Body:
    """`GET /wp-json/`: open to everybody. Plugins show in the namespaces."""
    zone = site.settings.time_zone
    named = not zone.startswith(("UTC+", "UTC-"))
    offset = site.clock().astimezone(site.settings.zone()).utcoffset() or timedelta(0)
    hours = raw(Decimal(int(offset.total_seconds())) / 3600)
    spaces = [*(space for space in _NAMESPACES if v3 or not space.startswith("wc/v")), *site.settings.plugins]
    endpoint = f"{site.url}/wp-admin/authorize-application.php"
    return {
        "name": site.settings.name,
        "description": "",
        "url": site.url,
        "home": site.url,
        "gmt_offset": hours if named else str(hours),
        "timezone_string": zone if named else "",
        "page_for_posts": 0,
        "page_on_front": 0,
        "show_on_front": "posts",
        "namespaces": spaces,
        "authentication": {"application-passwords": {"endpoints": {"authorization": endpoint}}},
        "routes": {
            f"/{space}": {"namespace": space, "methods": ["GET"], "endpoints": [{"methods": ["GET"], "args": {}}]} for space in spaces
        },
        "site_logo": 0,
        "site_icon": 0,
        "site_icon_url": "",
        "_links": {"help": [{"href": "https://developer.wordpress.org/rest-api/"}]},
    }


def system_status(site: Site) -> Body:
    """`GET /system_status`, the keys that a connector reads."""
    settings = site.settings
    plugins = [("woocommerce/woocommerce.php", "WooCommerce", settings.version)]
    plugins += [(f"{name.partition('/')[0]}/plugin.php", name, "1.0.0") for name in settings.plugins]
    return {
        "environment": {
            "home_url": site.url,
            "site_url": site.url,
            "store_id": settings.store_id,
            "version": settings.version,
            "wp_version": settings.wp_version,
            "wp_multisite": False,
            "wp_cron": settings.wp_cron,
            "php_version": "8.2.36",
            "default_timezone": "UTC",
        },
        "settings": {
            "currency": settings.currency,
            "currency_position": "left",
            "thousand_separator": ",",
            "decimal_separator": ".",
            "number_of_decimals": settings.decimals,
            "order_datastore": _HPOS if settings.hpos else _POSTS,
            "HPOS_enabled": settings.hpos,
            "HPOS_sync_enabled": False,
        },
        "security": {"secure_connection": site.url.startswith("https://"), "hide_errors": True},
        "active_plugins": [{"plugin": plugin, "name": name, "version": version} for plugin, name, version in plugins],
    }


def options(site: Site, group: str) -> dict[str, str]:
    """The options of a group, all of them texts."""
    settings = site.settings
    yes = {True: "yes", False: "no"}
    return {
        "general": {
            "woocommerce_default_country": "NL",
            "woocommerce_calc_taxes": yes[bool(settings.rates)],
            "woocommerce_enable_coupons": yes[settings.coupons],
            "woocommerce_currency": settings.currency,
            "woocommerce_price_thousand_sep": ",",
            "woocommerce_price_decimal_sep": ".",
            "woocommerce_price_num_decimals": str(settings.decimals),
        },
        "tax": {
            "woocommerce_prices_include_tax": yes[settings.prices_include_tax],
            "woocommerce_tax_based_on": "shipping",
            "woocommerce_tax_round_at_subtotal": yes[settings.round_at_subtotal],
        },
    }.get(group, {})


def option(site: Site, group: str, name: str, value: str) -> Body:
    label = name.removeprefix("woocommerce_").replace("_", " ").capitalize()
    path = f"settings/{group}"
    return {
        "id": name,
        "label": label,
        "description": "",
        "type": "checkbox" if value in {"yes", "no"} else "text",
        "default": value,
        "tip": "",
        "value": value,
        "_links": links(site, path, name, ["GET", "POST", "PUT", "PATCH"]),
    }


def alone(shown: Body, group: str) -> Body:
    """An option that was asked for by name says which group it is of."""
    return {**{key: value for key, value in shown.items() if key != "_links"}, "group_id": group, "_links": shown["_links"]}


def gateway(site: Site, one: Gateway) -> Body:
    return {
        "id": one.id,
        "title": one.title,
        "description": "",
        "order": "",
        "enabled": one.enabled,
        "method_title": one.title,
        "method_description": "",
        "method_supports": ["products", "refunds"] if one.refunds else ["products"],
        "settings": [],
        "needs_setup": False,
        "post_install_scripts": [],
        "settings_url": f"{site.url}/wp-admin/admin.php?page=wc-settings&tab=checkout&section={one.id}",
        "connection_url": None,
        "setup_help_text": None,
        "required_settings_keys": [],
        "_links": links(site, "payment_gateways", one.id, ["GET", "POST", "PUT", "PATCH"]),
    }


def tax(site: Site, ref: int, rate: Rate) -> Body:
    country, _, state = rate.region.partition("-")
    return {
        "id": ref,
        "country": country,
        "state": state,
        "postcode": "",
        "city": "",
        "rate": rate.percent,
        "name": rate.label,
        "priority": ref,
        "compound": rate.compound,
        "shipping": True,
        "order": ref - 1,
        "class": "standard",
        "postcodes": [],
        "cities": [],
        "_links": links(site, "taxes", ref),
    }
