"""Ids that sort as things happened."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from itertools import count
from typing import Final

_COUNTER: Final = count()


def ordered_id(at: datetime) -> uuid.UUID:
    """An id that sorts as things happened, also within one transaction: RFC 9562 version 7, with a counter of this process.

    The counter has 32 bits: with twelve, one transaction in a thousand would span its wrap and tell its story backwards.
    """
    milliseconds, tick = int(at.timestamp() * 1000) & (1 << 48) - 1, next(_COUNTER) & (1 << 32) - 1
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | (tick >> 20) << 64 | 2 << 62 | (tick & (1 << 20) - 1) << 42 | secrets.randbits(42))
