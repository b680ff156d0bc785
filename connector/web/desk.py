"""The staff's pages: what waits for a person, one return in full, and everything that may be done with it."""

from __future__ import annotations

from flask import Blueprint

bp = Blueprint("desk", __name__, url_prefix="/desk/<handle>")
