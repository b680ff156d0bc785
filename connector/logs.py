"""Logs: one JSON object a line, events and ids only. Never an address, a name, a token or a payload."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class OneLine(logging.Formatter):
    """A record as one line of JSON. Control characters are escaped by JSON itself, so nobody writes a second line (A73)."""

    def format(self, record: logging.LogRecord) -> str:
        """The event, where it happened, and its extras; of an exception only its type and the place."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["raised_at"] = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        extras = {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line}
        try:
            return json.dumps(line | extras, default=_shown, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # else logging would print a traceback, values and all
            return json.dumps(line | {"unshown": sorted(extras)}, ensure_ascii=True)


def _shown(value: object) -> str:
    """What JSON has no form for. Of an exception only its type: its words may quote what it met (A71)."""
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


def to_stderr(level: str = "info") -> None:
    """Log to standard error, as twelve-factor processes do. An unknown level counts as `info`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.getLevelNamesMapping().get(level.upper(), logging.INFO), handlers=[handler], force=True)
