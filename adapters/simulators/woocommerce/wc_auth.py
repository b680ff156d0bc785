"""wc-auth: a merchant signs in, approves, and the shop posts fresh keys to the app (`class-wc-auth.php`)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests

from adapters.simulators.woocommerce import keys, pages
from adapters.simulators.woocommerce.asking import php_query
from adapters.simulators.woocommerce.site import Site
from adapters.simulators.woocommerce.web import Request, Response, html, redirect

_REQUIRED: Final = ("app_name", "user_id", "return_url", "callback_url", "scope")
_SCOPES: Final = {"read": "Read", "write": "Write", "read_write": "Read/Write"}
_TIMEOUT: Final = 60  # seconds
_COOKIE: Final = "wordpress_logged_in"
_PERMISSIONS: Final = (
    "Create webhooks",
    "View and manage coupons",
    "View and manage customers",
    "View and manage orders and sales reports",
    "View and manage products",
)


class _Refused(Exception):
    """An error page: "Error: … ."."""


@dataclass(slots=True)
class WcAuth:
    """The pages. Who is signed in is remembered in memory."""

    site: Site
    _sessions: dict[str, int] = field(default_factory=dict)
    _nonces: dict[str, int] = field(default_factory=dict)

    def answer(self, request: Request, path: str) -> Response:
        """One page of the flow."""
        route = path.rstrip("/").rpartition("/")[2].lower()
        asked = {**php_query(request.query), **php_query(request.body.decode("utf-8", "replace"))}
        try:
            self._check(asked)
            return self._page(request, route, asked)
        except _Refused as why:
            return html(pages.plain("Access denied", f"<p>Error: {escape(str(why))}.</p>"), 401)

    def _check(self, asked: Mapping[str, object]) -> None:
        for name in _REQUIRED:
            if not asked.get(name):
                raise _Refused(f"Missing parameter {name}")
        if asked["scope"] not in _SCOPES:
            raise _Refused(f"Invalid scope {asked['scope']}")
        for name in ("return_url", "callback_url"):
            if not urlsplit(_whole(asked[name])).netloc:
                raise _Refused(f"The {_whole(asked[name])} is not a valid URL")
        if not self.site.switches.pretend_tls and not _whole(asked["callback_url"]).lower().startswith("https://"):
            raise _Refused("The callback_url needs to be over SSL")

    def _page(self, request: Request, route: str, asked: Mapping[str, object]) -> Response:
        user = self._sessions.get(request.cookies().get(_COOKIE, ""), 0)
        manages = keys.manages(self.site, user)
        if route == "logout":
            return self._left(asked)
        if route == "login" and not user:
            return self._sign_in(request, asked)
        if route == "login":
            return redirect(self._address(asked, "authorize"))
        if route == "authorize" and not user:
            return redirect(self._address(asked, "login"))
        if route == "authorize" and manages:
            return html(self._approve_page(user, asked))
        if route == "access_granted" and manages:
            return self._granted(user, asked)
        raise _Refused("You do not have permission to access this page")

    def _sign_in(self, request: Request, asked: Mapping[str, object]) -> Response:
        wrong = ""
        if request.method == "POST":
            known = self.site.shelves.named("user", str(asked.get("username", "")))
            if known is not None and secrets.compare_digest(str(asked.get("password", "")).encode(), keys.PASSWORD.encode()):
                token = secrets.token_urlsafe(24)
                self._sessions[token] = known["id"]
                cookie = ("Set-Cookie", f"{_COOKIE}={token}; path=/; HttpOnly")
                return Response(302, b"", (("Location", self._address(asked, "authorize")), cookie))
            wrong = '<p class="woocommerce-error" role="alert">Error: The username or password you entered is incorrect.</p>'
        app, back = escape(str(asked["app_name"])), escape(_returned(asked, 0))
        form = (
            f"<h1>{app} would like to connect to your store</h1>{wrong}<p>To connect to {app} you need to be logged in. "
            f'Log in to your store below, or <a href="{back}">cancel and return to {app}</a></p>'
            '<form method="post" class="wc-auth-login">'
            '<p><label for="username">Username or email address</label> <input type="text" name="username" id="username" required></p>'
            '<p><label for="password">Password</label> <input type="password" name="password" id="password" required></p>'
            '<p><button type="submit" name="login" value="Login">Login</button></p></form>'
        )
        return html(pages.plain("Application authentication request", form))

    def _approve_page(self, user: int, asked: Mapping[str, object]) -> str:
        nonce = secrets.token_hex(5)
        self._nonces[nonce] = user
        app, scope = escape(str(asked["app_name"])), _SCOPES[str(asked["scope"])]
        host = escape(urlsplit(_whole(asked["callback_url"])).hostname or "")
        granted = escape(f"{self._address(asked, 'access_granted')}&wc_auth_nonce={nonce}")
        name = escape(str((self.site.shelves.get("user", user) or {}).get("name", "")))
        return pages.plain(
            "Application authentication request",
            f"<h1>{app} would like to connect to your store</h1>"
            f'<p>This will give "<strong>{app}</strong>" <strong>{scope}</strong> access which will allow it to:</p>'
            f"<ul>{''.join(f'<li>{one}</li>' for one in _PERMISSIONS)}</ul>"
            f"<p>Approving will share credentials with <strong>{host}</strong>. "
            "Do not proceed if this looks suspicious in any way.</p>"
            f'<p>Logged in as {name} <a href="{escape(self._address(asked, "logout"))}" class="wc-auth-logout">Logout</a></p>'
            f'<p class="wc-auth-actions"><a href="{granted}" class="button wc-auth-approve">Approve</a> '
            f'<a href="{escape(_returned(asked, 0))}" class="button wc-auth-deny">Deny</a></p>',
        )

    def _granted(self, user: int, asked: Mapping[str, object]) -> Response:
        """Make the key, post it, and take it back unless the app answered exactly 200."""
        if self._nonces.get(str(asked.get("wc_auth_nonce", ""))) != user:
            raise _Refused("Invalid nonce verification")
        made = time.strftime("%Y-%m-%d %H:%M:%S", self.site.clock().utctimetuple())
        owner = self.site.shelves.get("user", user) or {}
        key = keys.add(self.site, owner, str(asked["scope"]), f"{asked['app_name']} - API ({made})")
        told: dict[str, Any] = {"key_id": key["id"], "user_id": asked["user_id"], "consumer_key": key["consumer_key"]}
        told |= {"consumer_secret": key["consumer_secret"], "key_permissions": key["permissions"]}
        try:
            self._post(_whole(asked["callback_url"]), told)
        except _Refused:
            self.site.shelves.drop("key", key["id"])
            raise
        return redirect(_returned(asked, 1))

    def _post(self, url: str, told: Mapping[str, Any]) -> None:
        agent = f"WordPress/{self.site.settings.wp_version}; {self.site.url}"
        headers = {"User-Agent": agent, "Content-Type": "application/json;charset=UTF-8", "Connection": "close"}
        try:
            answer = requests.post(url, json.dumps(told, separators=(",", ":")).encode(), headers=headers, timeout=_TIMEOUT)
        except requests.RequestException as lost:
            raise _Refused("cURL error 7: Failed to connect") from lost
        if answer.status_code != 200:
            raise _Refused("An error occurred in the request and at the time were unable to send the consumer data")

    def _left(self, asked: Mapping[str, object]) -> Response:
        gone = ("Set-Cookie", f"{_COOKIE}=; path=/; Max-Age=0")
        return Response(302, b"", (("Location", self._address(asked, "login")), gone))

    def _address(self, asked: Mapping[str, object], page: str) -> str:
        return f"{self.site.url}/wc-auth/v1/{page}/?{urlencode({name: str(asked[name]) for name in _REQUIRED})}"


def _whole(url: object) -> str:
    """An address without a scheme is taken for https."""
    text = str(url)
    return text if "://" in text else f"https://{text}"


def _returned(asked: Mapping[str, object], success: int) -> str:
    """Where the browser goes back to; what the address already asks stays in it."""
    url = _whole(asked["return_url"])
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'success': success, 'user_id': str(asked['user_id'])})}"
