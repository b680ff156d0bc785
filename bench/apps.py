"""What the servers are given beside our own application: the least that an endpoint can do, and ours with a bell."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from bench.deliveries import PATH, SECRET
from connector import wiring
from connector.bell import Bell
from connector.config import Settings
from connector.web import wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def bare() -> WSGIApplication:
    """A Flask route as a tutorial has it: compare the signature, and answer. It keeps nothing."""
    app = Flask("bare")

    @app.post(PATH)
    def received() -> Response:
        signature = base64.b64encode(hmac.new(SECRET.encode(), request.get_data(), hashlib.sha256).digest()).decode()
        return Response(status=200 if hmac.compare_digest(signature, request.headers.get("X-WC-Webhook-Signature", "")) else 401)

    return app


def ringing() -> WSGIApplication:
    """Our own application, but for a bell that rings after every commit that put work into the outbox."""
    settings = Settings.from_env()
    return wsgi.Application(settings, lambda: wiring.database(settings, ring=Bell(settings.redis_url).ring))
