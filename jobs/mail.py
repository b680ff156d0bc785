"""Hand over a message: read, hand over, record. Marked before it leaves, so that a crash never sends it without end."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Final

from connector.mail import NotEver, NotNow, Unanswered
from connector.services import mails
from connector.services.outbox import Later
from jobs.site import Site

log = logging.getLogger(__name__)

_AGAIN: Final = timedelta(minutes=2)


def hand_over(site: Site, mail_id: uuid.UUID) -> None:
    """Give the mail server one message. Safe to run again at any point, including twice at a time.

    Raises:
        Later: the server does not take it now, did not answer, or somebody else is at it.
    """
    if site.post is None or site.vault is None:
        with site.db.transaction() as session:
            mails.drop(session, mail_id, words="no_server")
        return
    with site.db.transaction() as session:
        letter = mails.mark(session, mail_id, vault=site.vault, now=site.db.now(session))
    if letter is None:
        return
    try:
        site.post.hand_over(letter)
    except NotNow as refusal:
        log.info("mail.later", extra={"mail": mail_id.hex, "code": str(refusal)})
        with site.db.transaction() as session:
            mails.unmark(session, mail_id, letter.attempt)
        raise Later(_AGAIN, "mail.not_now") from None
    except NotEver as refusal:
        log.warning("mail.refused", extra={"mail": mail_id.hex, "code": str(refusal)})
        with site.db.transaction() as session:
            mails.refused(session, mail_id, letter.attempt, words=str(refusal), now=site.db.now(session))
    except Unanswered:
        log.warning("mail.unanswered", extra={"mail": mail_id.hex, "attempt": letter.attempt})
        raise Later(mails.ANSWER_WITHIN, "mail.unanswered") from None
    else:
        with site.db.transaction() as session:
            mails.handed(session, mail_id, now=site.db.now(session))
