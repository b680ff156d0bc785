"""Connecting a WooCommerce store: its address, the merchant's approval over there, and a check of the store before anything is believed.

No step needs JavaScript. A GET changes nothing. The browser that began is the only one that goes on: a state carries its mark.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from flask import Blueprint, Response, abort, make_response, render_template, request
from werkzeug.datastructures import MultiDict

from connector.domain.connecting import Misfortune, NotConnectable
from connector.domain.platform import HttpRequest, Platform
from connector.misfortunes import sentence
from connector.secrets import BadLink
from connector.services import installs, shops
from connector.services.installs import NotUnderWay, UnderWay
from connector.web import doors
from connector.web.hosting import here
from connector.web.standing import standing

PLATFORM: Final = "woocommerce"
_HERE: Final = "/install/woocommerce"
_COOKIE_LIVES: Final = timedelta(days=2)  # longer than an installation, so that its end is said by the installation
_FORM_LIVES: Final = timedelta(days=1)
_LONGEST_GRANT: Final = 16 * 1024  # bytes; a genuine one has about 200
_KEY: Final = {name: re.compile(rf"{start}_[A-Za-z0-9]{{20,80}}", re.ASCII) for name, start in (("key", "ck"), ("secret", "cs"))}
# The same keys at the same address will never do.
_ANEW: Final = frozenset(
    {Misfortune.BAD_ADDRESS, Misfortune.PRIVATE_ADDRESS, Misfortune.WRONG_KEYS, Misfortune.READ_ONLY_KEYS, Misfortune.OTHER_STORE}
)

log = logging.getLogger(__name__)
bp = Blueprint("install", __name__, url_prefix=_HERE)


@dataclass(frozen=True, slots=True)
class Typed:
    """What a merchant typed. The secret is never shown again."""

    address: str = ""
    key: str = ""
    secret: str = field(default="", repr=False)
    by_hand: bool = False

    @classmethod
    def of(cls, form: MultiDict[str, str]) -> Typed:
        address, key, secret = (_printable(form.get(name, ""))[:300] for name in ("address", "key", "secret"))
        return cls(address, key, secret, form.get("way") == "keys" or bool(key or secret))

    def problems(self) -> dict[str, str]:
        """A code for each field that cannot be right."""
        found = {} if self.address else {"address": "empty"}
        for name, value in (("key", self.key), ("secret", self.secret)) if self.by_hand else ():
            other = _KEY["secret" if name == "key" else "key"]
            if not _KEY[name].fullmatch(value):
                found[name] = "empty" if not value else "swapped" if other.fullmatch(value) else "shape"
        return found


def _printable(text: str) -> str:
    """What was typed, without what a paste brings along; PostgreSQL takes no NUL (A15)."""
    return "".join(letter for letter in text if letter.isprintable()).strip()


class Crowded(Exception):
    """So many stores are being asked that one more would leave no thread for anybody else."""


# ── The address ─────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("")
def start() -> Response:
    return _form(Typed(address=_printable(request.args.get("address", ""))[:300]))


@bp.post("")
def submit() -> Response:
    typed, browser = Typed.of(request.form), _browser()
    form = _form_word(browser)
    if form is None:
        return _form(typed, notice="old" if browser else "cookie", status=422)
    problems, shop = typed.problems(), None
    try:
        shop = _platform().shop_at(typed.address)
    except NotConnectable as trouble:
        problems = {"address": sentence(trouble.why, trouble.detail)} | problems
    if problems or shop is None:
        return _form(typed, problems, status=422)
    hosting = here()
    if typed.by_hand:
        keys = {"consumer_key": typed.key, "consumer_secret": typed.secret}
        with hosting.database.transaction() as session:
            now = hosting.database.now(session)
            state = installs.start_by_hand(session, PLATFORM, typed.address, keys, form=form, browser=browser, vault=hosting.vault, now=now)
        return _check(state)
    with hosting.database.transaction() as session:
        now = hosting.database.now(session)
        state = installs.start(session, PLATFORM, typed.address, browser=browser, vault=hosting.vault, now=now)
    there = hosting.door.absolute
    approve = _platform().install_url(shop, state=state, return_url=there(f"{_HERE}/return"), callback_url=there(f"{_HERE}/callback"))
    return hosting.door.leave_for(approve)


# ── The approval ────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/callback")
def callback() -> Response:
    """The store posts its keys, and waits with one of its few workers: keep them and answer exactly 200 (WooCommerce 10.5)."""
    request.max_content_length = _LONGEST_GRANT
    hosting = here()
    grant = _platform().finish_install(_as_it_came())
    with hosting.database.transaction() as session:
        kept = installs.granted(session, PLATFORM, grant, vault=hosting.vault, now=hosting.database.now(session))
    if not kept:
        log.warning("install.refused")
        abort(403)
    return Response("", 200, content_type="text/plain; charset=utf-8")


@bp.get("/return")
def returned() -> Response:
    """The merchant is back. What the address says is only told, never done."""
    state = request.args.get("user_id", "")
    with _found(state) as found:
        if found.shop is not None:
            return here().door.redirect(f"{_HERE}/connected", install=state)
        if request.args.get("success") == "0":
            return _page("denied", address=found.address)
        return _page("check", state=state, address=found.address, step="waiting" if found.credentials is None else "ready")


# ── The check ───────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/check")
def check() -> Response:
    return _check(request.form.get("install", ""))


@bp.get("/connected")
def connected() -> Response:
    state, hosting = request.args.get("install", ""), here()
    with _found(state) as found:
        if found.shop is None:
            return hosting.door.redirect(f"{_HERE}/return", user_id=state)
        with hosting.database.reading() as session:
            shop = shops.keys_of(session, found.shop)
        return _page("connected", shop=shop.domain, standing=standing(shop.facts))


def _check(state: str) -> Response:
    hosting = here()
    with _found(state) as found:
        if found.shop is None and found.credentials is None:
            return _page("check", 409, state=state, address=found.address, step="waiting")
        try:
            if found.shop is None:
                _connect(state, found, found.credentials or {})
        except NotConnectable as trouble:
            log.info("install.unconnectable", extra={"why": trouble.why.value})
            told = sentence(trouble.why, trouble.detail)
            return _page("check", 422, state=state, address=found.address, step="trouble", trouble=told, anew=trouble.why in _ANEW)
        except Crowded:
            return _page("check", 503, state=state, address=found.address, step="crowded")
        return hosting.door.redirect(f"{_HERE}/connected", install=state)


def _connect(state: str, found: UnderWay, credentials: Mapping[str, str]) -> None:
    """Ask the store that the merchant named, and only then believe its keys. Raises `NotConnectable`, `Crowded`, `NotUnderWay`."""
    hosting, platform = here(), _platform()
    if not hosting.asking.acquire(blocking=False):
        raise Crowded
    try:
        shop = platform.shop_at(found.address)
        facts = platform.connect(shop, credentials, {}).probe()
        shop = platform.shop_at(facts.get("url", found.address))  # where it answered, however it was typed
    finally:
        hosting.asking.release()
    with hosting.database.transaction() as session:
        installs.finish(session, state, shop, facts, vault=hosting.vault, now=hosting.database.now(session))


@contextmanager
def _found(state: str) -> Iterator[UnderWay]:
    """The installation of this state, if this browser began it; else the page that says why not."""
    hosting = here()
    if not installs.is_from(state, _browser(), vault=hosting.vault):
        abort(_page("stranger", 403))
    try:
        with hosting.database.reading() as session:
            found = installs.under_way(session, state, vault=hosting.vault, now=hosting.database.now(session))
        yield found
    except NotUnderWay:
        abort(_page("gone", 410))


# ── Pages, and who reads them ───────────────────────────────────────────────────────────────────────────────────────


def _page(name: str, status: int = 200, **values: object) -> Response:
    return make_response(render_template(f"install/{name}.html", here=_HERE, **values), status)


def _form(typed: Typed, problems: Mapping[str, str] | None = None, *, notice: str = "", status: int = 200) -> Response:
    """The first page, with a fresh form and a cookie that names the browser."""
    hosting = here()
    browser = _browser() or secrets.token_urlsafe(24)
    token = hosting.vault.sign("install-form", {"browser": browser, "word": secrets.token_urlsafe(16)})
    typed = replace(typed, key="") if _KEY["secret"].fullmatch(typed.key) else typed  # pasted the wrong way round: shown to nobody
    approves = hosting.door.secure or hosting.settings.dev  # WooCommerce sends keys to an https address only
    page = _page("start", status, typed=typed, problems=problems or {}, notice=notice, token=token, approves=approves)
    page.set_cookie(
        _cookie(),
        hosting.vault.sign("browser", {"id": browser}),
        max_age=_COOKIE_LIVES,
        secure=hosting.door.secure,
        httponly=True,
        samesite="Lax",
        path="/",
    )
    return doors.loosened(page, "https:", *(("http:",) if hosting.settings.dev else ()))  # the form leads to the merchant's store


def _cookie() -> str:
    return "__Host-retour" if here().door.secure else "retour-dev"


def _browser() -> str:
    """The name that we gave to this browser; empty: none."""
    try:
        return here().vault.read("browser", request.cookies.get(_cookie(), ""), _COOKIE_LIVES).get("id", "")
    except BadLink:
        return ""


def _form_word(browser: str) -> str | None:
    """The one-time word of the form that came back, if it is ours and this browser's (A37)."""
    try:
        form = here().vault.read("install-form", request.form.get("token", ""), _FORM_LIVES)
    except BadLink:
        return None
    return form["word"] if browser and secrets.compare_digest(form["browser"], browser) else None


def _platform() -> Platform:
    platform = here().platforms.get(PLATFORM)
    if platform is None:
        abort(404)
    return platform


def _as_it_came() -> HttpRequest:
    headers = tuple((name.lower(), value) for name, value in request.headers)
    return HttpRequest(request.method, here().door.absolute(request.full_path.rstrip("?")), headers, request.get_data(cache=False))
