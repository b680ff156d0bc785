"""Where a page is seen through: it builds every address, and says which headers its answers carry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, abort, current_app, redirect

_TYPES: Final = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}

bp = Blueprint("assets", __name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served: under a name that changes with its bytes, so that it may be kept for ever."""

    name: str
    body: bytes = field(repr=False)
    kind: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        stem, _, ending = name.rpartition(".")
        return cls(f"{stem}.{hashlib.sha256(body).hexdigest()[:16]}.{ending}", body, _TYPES[ending])


def packaged() -> Mapping[str, Asset]:
    """The assets of this version by their plain name."""
    lying = (each for each in (files("connector") / "static").iterdir() if each.name.rpartition(".")[2] in _TYPES)
    return MappingProxyType({each.name: Asset.of(each.name, each.read_bytes()) for each in lying})


@dataclass(frozen=True, slots=True)
class Door:
    """The hosted door: our own address, which BASE_URL names. What a request calls itself in its Host header decides nothing (A45).

    `inside` is the path that its pages lie under, `carried` what every address of theirs takes along.
    """

    base_url: str
    assets: Mapping[str, Asset] = field(default_factory=packaged, repr=False)
    inside: str = ""
    carried: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secure(self) -> bool:
        return self.base_url.startswith("https://")

    def within(self, path: str, **carried: str) -> Door:
        """The same door, for the pages that lie under `path`; their addresses take `carried` along."""
        return replace(self, inside=path, carried=carried)

    def url(self, path: str, **query: str) -> str:
        """The address of a page from its path under `inside`; relative to the host, so that it stays where the visitor is."""
        asked = {**self.carried, **query}
        return urlsplit(self.base_url).path + self.inside + path + (f"?{urlencode(asked)}" if asked else "")

    def absolute(self, path: str) -> str:
        """The address of a page of ours, from its whole path, for somebody elsewhere."""
        return self.base_url + path

    def asset(self, name: str) -> str:
        return f"{urlsplit(self.base_url).path}/static/{self.assets[name].name}"

    def redirect(self, path: str, **query: str) -> Response:
        """After a form: see there."""
        return _see(self.url(path, **query))

    def leave_for(self, url: str) -> Response:
        """After a form: see at a store. The only way out of our pages."""
        return _see(url)

    def headers(self) -> dict[str, str]:
        """What every answer carries. A page that needs more of its policy says so with `loosened`."""
        always = {
            "Content-Security-Policy": policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        return always | ({"Strict-Transport-Security": "max-age=31536000"} if self.secure else {})


def policy(forms_to: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> str:
    """Our pages load their sheet and their sign, run nothing, and lie in nobody's frame.

    `forms_to` is where a form may lead besides here; browsers hold its redirect against it as well. `images` are the sources of
    pictures besides ours, such as a shop's.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            " ".join(("img-src 'self'", *images)),
            " ".join(("form-action 'self'", *forms_to)),
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def loosened(answer: Response, *forms_to: str, images: tuple[str, ...] = ()) -> Response:
    """The answer, whose form may also lead to, and whose pictures may also come from, these sources."""
    answer.headers["Content-Security-Policy"] = policy(forms_to, images)
    return answer


@bp.get("/static/<name>")
def asset(name: str) -> Response:
    door = current_app.extensions["retour"].door
    found = next((each for each in door.assets.values() if each.name == name), None)
    if found is None:
        abort(404)
    answer = Response(found.body, content_type=found.kind)
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def _see(url: str) -> Response:
    answer = redirect(url, code=303, Response=Response)
    assert isinstance(answer, Response)  # noqa: S101 - typing only
    return answer
