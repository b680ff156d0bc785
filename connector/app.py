"""The web application: blueprints, headers, errors, and the two questions that a host asks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flask import Flask, Response
from jinja2 import StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy.exc import SQLAlchemyError

from connector import revisions, wiring
from connector.bell import Bell
from connector.config import Settings
from connector.db import Busy, Database
from connector.domain.platform import Platform
from connector.web import desk, doors, errors, install, metrics, portal
from connector.web.doors import Door
from connector.web.hosting import Hosting, here

_QUOTED = re.compile("“([^”]*)”")
_LONGEST_BODY = 64 * 1024  # bytes of a form; deliveries of platforms do not come this way


def create_app(settings: Settings, *, database: Database | None = None, platforms: Mapping[str, Platform] | None = None) -> Flask:
    """The application of these settings; `database` and `platforms` in place of its own."""
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=_LONGEST_BODY, MAX_FORM_MEMORY_SIZE=_LONGEST_BODY, MAX_FORM_PARTS=50)
    app.config.update(PROPAGATE_EXCEPTIONS=False, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.debug = False  # whatever FLASK_DEBUG says (A75)
    app.url_map.merge_slashes = False  # it redirects to whatever Host says (A45)
    hosting = Hosting(
        settings=settings,
        database=wiring.database(settings, ring=Bell(settings.redis_url).ring) if database is None else database,
        vault=wiring.vault(settings),
        platforms=wiring.platforms(settings) if platforms is None else platforms,
        door=Door(settings.base_url),
    )
    hosting.serve(app)
    _dress(app, hosting.door)
    errors.register(app)
    app.register_blueprint(doors.bp)
    app.register_blueprint(install.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(desk.bp)
    metrics.register(app)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    return app


def healthz() -> Response:
    """The process is up."""
    return Response("ok\n", content_type="text/plain; charset=utf-8")


def readyz() -> Response:
    """The database answers and has what this version needs; 503 otherwise."""
    try:
        ready = _has_what_we_need(revisions.current(here().database))
    except (Busy, SQLAlchemyError):
        ready = False
    return Response("ready\n" if ready else "not ready\n", 200 if ready else 503, content_type="text/plain; charset=utf-8")


def quoted(text: str) -> Markup:
    """A sentence in which “what is to be typed” can be told from the rest, and is taken whole by one click."""
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just here


def _has_what_we_need(revision: str | None) -> bool:
    """At our newest revision, or at one that we do not know: a newer one, whose migrations work with the running code."""
    return revision is not None and (revision == revisions.newest() or not revisions.knows(revision))


def _dress(app: Flask, door: Door) -> None:
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_null_translations(newstyle=True)  # type: ignore[attr-defined]  # the extension's
    app.jinja_env.globals["door"] = door
    app.jinja_env.filters["quoted"] = quoted

    @app.after_request
    def _headers(response: Response) -> Response:
        for name, value in door.headers().items():
            response.headers.setdefault(name, value)
        return response
