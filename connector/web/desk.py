"""The staff's pages: what waits for a person, one return in full, and everything that may be done with it."""

from __future__ import annotations

from flask import Blueprint

from connector.web import desk_act, desk_enter, desk_money, desk_queue, desk_resolve

bp = Blueprint("desk", __name__, url_prefix="/desk/<handle>")
for part in (desk_enter, desk_queue, desk_money, desk_act, desk_resolve):
    bp.register_blueprint(part.bp)
