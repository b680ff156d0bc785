"""The shopper's pages: find an order, choose what comes back, see what it gives, and how a return stands."""

from __future__ import annotations

from flask import Blueprint

bp = Blueprint("portal", __name__, url_prefix="/returns/<handle>")
