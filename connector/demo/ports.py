"""Where the demo listens. The shop and the mailbox keep the ports of the first start: a shop is known by its address."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from connector.config import Misconfigured

_FILE: Final = "ports.json"
_FIRST: Final = 8000


@dataclass(frozen=True, slots=True)
class Ports:
    """All on loopback."""

    web: int
    shop: int
    mail: int
    smtp: int


def chosen(data: Path, environ: Mapping[str, str]) -> Ports:
    """PORT, or 8000; the others beside it, where they are free, and then for good. Raises `Misconfigured` where one is taken."""
    web = _asked(environ.get("PORT", ""))
    if not _free(web):
        raise Misconfigured(f"port {web} is in use by something else; choose another: make demo PORT={web + 10}")
    kept = data / _FILE
    if kept.exists():
        known = Ports(**json.loads(kept.read_text(encoding="utf-8")) | {"web": web})
        for what, port in (("shop", known.shop), ("mailbox", known.mail), ("mail server", known.smtp)):
            if port == web or not _free(port):
                raise Misconfigured(
                    f"port {port}, where the demo's {what} has lived since its first start, is in use; free it, or begin anew in another"
                    " place: make demo ARGS='--data .retour/demo2'"
                )
        return known
    taken = {web}
    made = Ports(web, *(_near(web + step, taken) for step in (1, 2, 3)))
    kept.write_text(json.dumps(asdict(made)), encoding="utf-8")
    return made


def _asked(text: str) -> int:
    if not text:
        return _FIRST
    if not (text.isascii() and text.isdecimal() and 1024 <= int(text) <= 65000):
        raise Misconfigured(f"PORT must be a number between 1024 and 65000, not {text!r}")
    return int(text)


def _near(port: int, taken: set[int]) -> int:
    while port in taken or not _free(port):
        port += 1
    taken.add(port)
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
