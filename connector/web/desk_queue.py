"""The desk's first page: what waits, for what, and how long already."""

from __future__ import annotations

from flask import Blueprint, Response, request

from connector.services import queues
from connector.services.queues import Queue
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web.hosting import here

bp = Blueprint("queue", __name__)


@bp.get("")
@bp.get("/")
def queue(handle: str) -> Response:
    at, hosting = seats.desk(handle), here()
    if seats.visitor(at) is None:
        return seats.entrance(at)
    seat, asked = seats.seated(handle), forms.look(request.args)
    with hosting.database.reading() as session:
        now, counts = hosting.database.now(session), queues.counts(session, at.shop.id)
        shop, text = at.shop.id, asked.text
        page = queues.search(session, shop, text) if text else queues.page(session, shop, asked.queue, asked.after)
    if asked.text and len(page.returns) == 1:
        return at.door.redirect(f"/{page.returns[0].number}")
    rest = None if page.rest is None else forms.written(page.rest)
    return seats.page(
        seat,
        "queue",
        queue=asked.queue,
        text=asked.text,
        page=page,
        rest=rest,
        later=asked.after is not None,
        counts=counts,
        now=now,
        Queue=Queue,
    )
