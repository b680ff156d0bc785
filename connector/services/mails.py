"""Mail rows: one for each event, written in the transaction of the event, handed over by `jobs/mail.py`.

A row is marked before its message leaves. One whose hand-over was not answered goes out once more, with the same Message-ID and Date,
so that a mailbox can tell; after that it is left, and the timeline says so.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector import db
from connector.links import SIGN_IN_LIVES
from connector.models import Kind, Mail, MailState
from connector.secrets import Vault
from connector.services import letters, outbox, timeline
from connector.services.letters import Event, Letter
from connector.services.outbox import Later

__all__ = ["Event", "about", "handed", "mark", "refused", "to", "unmark"]

ANSWER_WITHIN: Final = timedelta(minutes=5)  # after that nobody waits for a mail server's answer any more
TRIES: Final = 2
CODE_LIVES: Final = timedelta(minutes=15)
GIVEN_UP_AFTER: Final = timedelta(days=3)  # what came later than that would only confuse
_DEAD_AFTER: Final[Mapping[Event, timedelta]] = {Event.SIGN_IN: SIGN_IN_LIVES, Event.CODE: CODE_LIVES}  # what it carries opens nothing


def about(session: Session, event: Event, rma: uuid.UUID, *, shop: uuid.UUID, subject: uuid.UUID | None = None, now: datetime) -> None:
    """Write to the RMA's contact about an event, once for the RMA (and `subject`, such as a money row)."""
    once = ":".join(filter(None, (event.value, rma.hex, subject.hex if subject else "")))
    if session.execute(select(Mail.id).where(Mail.once == once)).first() is None:
        _put(session, Mail(id=uuid.uuid4(), shop_id=shop, rma_id=rma, subject_id=subject, event=event.value, once=once), now=now)


def to(session: Session, event: Event, values: Mapping[str, str], *, shop: uuid.UUID, vault: Vault, now: datetime) -> None:
    """Write to somebody who is no RMA's contact. `values`: `email`, and what the message needs (`secret`, `code`); gone once it is out."""
    mail = Mail(id=uuid.uuid4(), shop_id=shop, event=event.value)
    mail.once, mail.sealed = f"{event.value}:{mail.id.hex}", vault.encrypt("mail", mail.id.hex, json.dumps(dict(values)))
    _put(session, mail, now=now)


def mark(session: Session, mail_id: uuid.UUID, *, vault: Vault, now: datetime) -> Letter | None:
    """The message, marked: whoever gets it hands it over. None: there is nothing to hand over any more.

    Raises:
        Later: somebody may be handing it over at this moment.
    """
    mail = session.get_one(Mail, mail_id)
    if mail.state not in {MailState.WAITING, MailState.MARKED}:
        return None
    if mail.marked_at is not None and mail.state is MailState.MARKED:
        if (wait := mail.marked_at + ANSWER_WITHIN - now) > timedelta(0):
            raise Later(wait, "mail.asked")
        if mail.attempt >= TRIES:
            _closed(session, mail, MailState.REFUSED, words="unanswered", now=now)
            return None
    if now - mail.made_at >= _DEAD_AFTER.get(Event(mail.event), GIVEN_UP_AFTER):
        _closed(session, mail, MailState.REFUSED, words="too_late", now=now)
        return None
    if letters.overtaken(session, mail):  # nobody misses it: not a word in the timeline either
        mail.state, mail.words = MailState.DROPPED, "overtaken"
        return None
    letter = letters.letter(session, mail, vault=vault, now=now)
    if letter is None:
        _closed(session, mail, MailState.DROPPED, words=None, now=now)
    elif not _change(session, mail_id, mail.attempt, mail.state, state=MailState.MARKED, attempt=letter.attempt, marked_at=now):
        raise Later(timedelta(seconds=2), "mail.asked")
    return letter


def unmark(session: Session, mail_id: uuid.UUID, attempt: int) -> None:
    """Nothing left: the attempt does not count."""
    _change(session, mail_id, attempt, MailState.MARKED, state=MailState.WAITING, attempt=attempt - 1, marked_at=None)


def handed(session: Session, mail_id: uuid.UUID, *, now: datetime) -> None:
    """The mail server took it: true whichever attempt brings that answer."""
    mail = session.get_one(Mail, mail_id)
    if mail.state is not MailState.HANDED:
        mail.state, mail.handed_at, mail.sealed, mail.words = MailState.HANDED, now, None, None
        _told(session, mail, "mail.handed", now=now)


def refused(session: Session, mail_id: uuid.UUID, attempt: int, *, words: str, now: datetime) -> None:
    """The mail server will never take it. `words` is its code, such as `550`, and nobody's address."""
    mail = session.get_one(Mail, mail_id)
    if mail.attempt == attempt and mail.state is MailState.MARKED:
        _closed(session, mail, MailState.REFUSED, words=words, now=now)


def drop(session: Session, mail_id: uuid.UUID, *, words: str) -> None:
    """Nobody can hand it over here, such as where no mail server is configured: the doctor says that, not each timeline."""
    mail = session.get_one(Mail, mail_id)
    if mail.state is MailState.WAITING:
        mail.state, mail.sealed, mail.words = MailState.DROPPED, None, words


def _closed(session: Session, mail: Mail, state: MailState, *, words: str | None, now: datetime) -> None:
    mail.state, mail.sealed, mail.words = state, None, words
    _told(session, mail, f"mail.{state.value}", now=now, why=words or "")


def _told(session: Session, mail: Mail, what: str, *, now: datetime, **facts: str) -> None:
    """In the timeline of an RMA, for staff."""
    if mail.rma_id is not None:
        named: dict[str, str | int] = {"event": mail.event, "attempt": mail.attempt, **facts}
        timeline.record(session, what, shop=mail.shop_id, rma=mail.rma_id, who="machine", at=now, facts=named)


def _change(session: Session, mail_id: uuid.UUID, seen: int, was: MailState, **values: Any) -> bool:  # noqa: ANN401 - columns
    """Only where nobody was quicker."""
    mine = update(Mail).where(Mail.id == mail_id, Mail.attempt == seen, Mail.state == was)
    return db.changed(session, mine.values(values).execution_options(synchronize_session=False)) == 1


def _put(session: Session, mail: Mail, *, now: datetime) -> None:
    mail.state, mail.attempt, mail.made_at, mail.message_id = MailState.WAITING, 0, now, f"{mail.event}.{mail.id.hex}"
    session.add(mail)
    session.flush()
    outbox.put(session, Kind.MAIL, mail.id, shop=mail.shop_id, now=now)
