"""Ids that sort as things happened."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from itertools import count
from typing import Final

_COUNTER: Final = count()


def ordered_id(at: datetime) -> uuid.UUID:
    """An id that sorts as things happened, also within one transaction: RFC 9562 version 7, with a counter of this process."""
    milliseconds = int(at.timestamp() * 1000) & (1 << 48) - 1
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | (next(_COUNTER) & 0xFFF) << 64 | 2 << 62 | secrets.randbits(62))
