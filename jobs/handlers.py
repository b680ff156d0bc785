"""Which function works off which kind of outbox row. A kind that is not here is left to a newer version."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from sqlalchemy.orm import Session

from connector.models import Kind
from jobs import credit, inbox, mail, mirror, money, shops
from jobs.site import Site

Handler: TypeAlias = Callable[[Site, uuid.UUID], None]
Surrender: TypeAlias = Callable[[Session, uuid.UUID, datetime], None]

# What is to be written down, in the transaction that parks it, once a row of a kind has failed too often.
GIVE_UP: Final[Mapping[str, Surrender]] = MappingProxyType({Kind.SETTLE.value: money.give_up})
# In the order in which a drain claims: money first, history last.
HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        Kind.SETTLE.value: money.settle,
        Kind.MIRROR.value: mirror.show,
        Kind.MAIL.value: mail.hand_over,
        Kind.REISSUE.value: credit.follow,
        Kind.REFRESH.value: inbox.refresh,
        Kind.POLL.value: shops.poll,
        Kind.PROBE.value: shops.probe,
        Kind.REDACT.value: shops.redact,
        Kind.IMPORT.value: shops.import_history,
    }
)
