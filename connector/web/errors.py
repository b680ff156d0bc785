"""What went wrong and how it is answered: one table. A page says what to do; the exception's own words stay in here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from flask import Flask, Response, make_response, render_template, request
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from connector.db import Busy
from connector.domain.platform import BadSignature, Throttled

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its status, the name of what its page says, and when to come back (seconds)."""

    status: int
    page: str
    retry_after: int | None = None


# The first that fits, by kind of exception.
TABLE: Final[Mapping[type[Exception], Told]] = MappingProxyType(
    {
        Busy: Told(503, "busy", 5),
        Throttled: Told(503, "busy", 30),
        OperationalError: Told(503, "busy", 10),  # the database is away
        InterfaceError: Told(503, "busy", 10),
        BadSignature: Told(400, "refused"),
    }
)
_BY_STATUS: Final[Mapping[int, str]] = MappingProxyType({403: "refused", 404: "missing", 405: "missing", 413: "refused"})


def told(error: Exception) -> Told:
    """How an exception is answered; what nobody foresaw is a 500."""
    if isinstance(error, HTTPException):
        status = error.code or 500
        return Told(status, _BY_STATUS.get(status, "refused" if status < 500 else "failed"))
    return next((answer for kind, answer in TABLE.items() if isinstance(error, kind)), Told(500, "failed"))


def answer(error: Exception) -> Response:
    """The page of an exception, or the one that it brings along."""
    if isinstance(error, HTTPException) and error.response is not None:
        return make_response(error.response)
    found = told(error)
    if found.status >= 500:
        extra = {"endpoint": request.endpoint, "status": found.status, "error": type(error).__name__}
        log.error("web.failed", extra=extra, exc_info=error if found.page == "failed" else None)
    page = make_response(render_template("error.html", page=found.page), found.status)
    if found.retry_after is not None:
        page.headers["Retry-After"] = str(found.retry_after)
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name == "Allow":
                page.headers["Allow"] = value
    return page


def register(app: Flask) -> None:
    """Every exception of a view comes here, and no page shows a trace."""
    app.register_error_handler(Exception, answer)
