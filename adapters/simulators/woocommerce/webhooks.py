"""Webhooks with the habits of WooCommerce and Action Scheduler.

Bodies are built when they are delivered, as the webhook's owner sees the thing. A delivery is never repeated. Different
events of one second share a delivery id. 200 to 302 is a success; the 7th failure in a row disables (10.5, verified).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from adapters.simulators.woocommerce import keys, render
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site

_TIMEOUT: Final = 60  # seconds, as WooCommerce waits
_TOLERATED: Final = 5  # failures in a row; the second after them disables
_STATUSES: Final = ("active", "paused", "disabled")
_HOOKS: Final = {
    "order.created": ["woocommerce_new_order"],
    "order.updated": ["woocommerce_update_order", "woocommerce_order_refunded"],
    "order.deleted": ["wp_trash_post", "woocommerce_trash_order"],
    "order.restored": ["untrashed_post", "woocommerce_untrash_order"],
}
_RESOURCES: Final = ("coupon", "customer", "order", "product")
_EVENTS: Final = ("created", "updated", "deleted", "restored")


def create(site: Site, body: Mapping[str, Any], owner: int) -> Thing:
    """A new webhook, active at once. The ping is sent by `ping`, while the client still waits."""
    topic = str(body.get("topic") or "")
    if not _is_topic(topic.lower()):
        raise Problem(400, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic is required and must be valid.")
    if not _is_url(body.get("delivery_url")):
        text = "Webhook delivery URL must be a valid URL starting with http:// or https://."
        raise Problem(400, "woocommerce_rest_shop_webhook_invalid_delivery_url", text)
    hook: Thing = {"id": site.shelves.next("webhook"), "status": "active", "created": site.now(), "modified": None}
    hook |= {"name": str(body.get("name") or f"Webhook created on {site.now()}"), "delivery_url": body["delivery_url"]}
    hook |= {"secret": str(body.get("secret") or secrets.token_urlsafe(37)), "owner": owner, "failures": 0, **_topic(topic)}
    _set_status(hook, body)
    save(site, hook)
    return hook


def change(site: Site, ref: int, body: Mapping[str, Any]) -> Thing:
    """PUT. Who activates it again keeps the failures it had."""
    with site.shelves.change():
        hook = site.shelves.get("webhook", ref)
        if hook is None:
            raise Problem(400, "woocommerce_rest_shop_webhook_invalid_id", "ID is invalid.")
        if body.get("topic"):
            if not _is_topic(str(body["topic"]).lower()):
                raise Problem(400, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic must be valid.")
            hook |= _topic(str(body["topic"]))
        if body.get("delivery_url"):
            if not _is_url(body["delivery_url"]):
                text = "Webhook delivery URL must be a valid URL starting with http:// or https://."
                raise Problem(400, "woocommerce_rest_shop_webhook_invalid_delivery_url", text)
            hook["delivery_url"] = body["delivery_url"]
        hook |= {key: str(body[key]) for key in ("secret", "name") if body.get(key)}
        _set_status(hook, body)
        hook["modified"] = site.now()
        save(site, hook)
    return hook


def save(site: Site, hook: Thing) -> None:
    site.shelves.put("webhook", hook, name=hook["topic"])


def ping(site: Site, hook: Thing) -> None:
    """Form encoded and unsigned; the answer is ignored."""
    headers = {**_agent(site), "Content-Type": "application/x-www-form-urlencoded"}
    _post(hook["delivery_url"], f"webhook_id={hook['id']}".encode(), headers)


def run(site: Site) -> int:
    """One run of the queue: everything that is due is delivered, once. Returns how many."""
    done = 0
    while (job := _next(site)) is not None:
        hook = site.shelves.get("webhook", job["webhook"])
        if hook is not None:
            deliver(site, hook, job["arg"])
            done += 1
    return done


def deliver(site: Site, hook: Thing, arg: int) -> None:
    """Build the body, sign it, send it, and count a failure. A disabled webhook's queue is still delivered."""
    body = render.to_json(payload(site, hook, arg))
    second = int(site.clock().timestamp())
    headers = {
        **_agent(site),
        "Content-Type": "application/json",
        "X-WC-Webhook-Source": f"{site.url}/",
        "X-WC-Webhook-Topic": hook["topic"],
        "X-WC-Webhook-Resource": hook["resource"],
        "X-WC-Webhook-Event": hook["event"],
        "X-WC-Webhook-Signature": base64.b64encode(hmac.new(hook["secret"].encode(), body, hashlib.sha256).digest()).decode(),
        "X-WC-Webhook-ID": str(hook["id"]),
        "X-WC-Webhook-Delivery-ID": hashlib.sha256(f"{site.settings.store_id}{hook['id']}{second}".encode()).hexdigest()[:32],
    }
    code = _post(hook["delivery_url"], body, headers)
    with site.shelves.change():
        known = site.shelves.get("webhook", hook["id"])
        if known is None:
            return
        if 200 <= code <= 302:
            known["failures"] = 0
        elif known["failures"] > _TOLERATED:
            known["status"] = "disabled"
        else:
            known["failures"] += 1
        save(site, known)


def payload(site: Site, hook: Thing, arg: int) -> Mapping[str, Any]:
    """The thing as it is now; an error object where its owner may not see it, or where it is gone."""
    if hook["resource"] == "action":
        return {"action": hook["event"], "arg": arg}
    if hook["event"] == "deleted":
        return {"id": arg}
    if not keys.manages(site, hook["owner"]):
        return Problem(403, "woocommerce_rest_cannot_view", "Sorry, you cannot view this resource.").body()
    order = site.shelves.get("order", arg)
    if order is None:
        return Problem(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.").body()
    return render.order(site, order, site.shelves.of("refund", arg), site.settings.decimals)


def _next(site: Site) -> Thing | None:
    with site.shelves.change():
        found = site.shelves.find("kind = 'job' ORDER BY id LIMIT 1", ())
        if not found:
            return None
        site.shelves.drop("job", found[0]["id"])
        return found[0]


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """The status, or 0 where none came."""
    try:
        return requests.post(url, body, headers=headers, timeout=_TIMEOUT, allow_redirects=False).status_code
    except requests.RequestException:
        return 0


def _agent(site: Site) -> dict[str, str]:
    agent = f"WooCommerce/{site.settings.version} Hookshot (WordPress/{site.settings.wp_version})"
    return {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "deflate, gzip, br, zstd", "Connection": "close"}


def _topic(topic: str) -> Thing:
    resource, _, event = topic.partition(".")
    hooks = _HOOKS.get(topic, [event] if resource == "action" else [f"woocommerce_{event}_{resource}"])
    return {"topic": topic, "resource": resource, "event": event, "hooks": hooks}


def _is_topic(topic: str) -> bool:
    if topic.startswith(("action.woocommerce_", "action.wc_")):
        return True
    resource, _, event = topic.partition(".")
    return resource in _RESOURCES and event in _EVENTS


def _is_url(url: object) -> bool:
    return isinstance(url, str) and urlsplit(url).scheme in {"http", "https"} and bool(urlsplit(url).netloc)


def _set_status(hook: Thing, body: Mapping[str, Any]) -> None:
    if not body.get("status"):
        return
    if body["status"] not in _STATUSES:
        raise Problem(400, "woocommerce_rest_shop_webhook_invalid_status", "Webhook status must be valid.")
    hook["status"] = body["status"]
