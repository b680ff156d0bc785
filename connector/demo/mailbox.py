"""`python -m connector.demo.mailbox SMTP_PORT WEB_PORT DIRECTORY`: takes every mail, sends none on, and shows what came."""

from __future__ import annotations

import email
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from jinja2 import Environment

from connector.demo.serving import CSS, HTML, Pages, pages, said, sheet
from connector.signals import StopSignals

_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Box:
    """Mail as files, the newest last; each file is one message."""

    directory: Path

    def put(self, content: bytes) -> None:
        """Keep one message."""
        name = f"{time.time_ns():020d}"
        part = self.directory / f"{name}.part"
        part.write_bytes(content)
        part.rename(self.directory / f"{name}.eml")

    def names(self) -> list[str]:
        """Newest first."""
        return sorted((path.stem for path in self.directory.glob("*.eml")), reverse=True)[:_SHOWN]

    def get(self, name: str) -> EmailMessage | None:
        """One message; None: there is none of that name."""
        if not name.isdecimal() or not (path := self.directory / f"{name}.eml").is_file():
            return None
        message = email.message_from_bytes(path.read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)  # noqa: S101 - typing only
        return message


@dataclass(frozen=True, slots=True)
class Taker:
    """The SMTP side."""

    box: Box

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep it, whoever it is to."""
        content: Any = envelope.content
        self.box.put(content)
        return "250 kept here"


@dataclass(slots=True)
class Reader:
    """The pages: a list, and one message."""

    box: Box
    pages: Environment = field(default_factory=pages)

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI
        """One request."""
        path = environ["PATH_INFO"]
        if path == "/retour.css":
            return said(start, CSS, sheet())
        if path == "/":
            listed = [(name, message) for name in self.box.names() if (message := self.box.get(name)) is not None]
            return said(start, HTML, self.pages.get_template("mailbox.html").render(listed=listed).encode())
        if body := self._message(path.strip("/")):
            return said(start, HTML, body)
        return said(start, HTML, b"There is no such message.", status="404 Not Found")

    def _message(self, name: str) -> bytes:
        message = self.box.get(name)
        if message is None:
            return b""
        parts = {kind: body.get_content() for kind in ("html", "plain") if (body := message.get_body((kind,))) is not None}
        return self.pages.get_template("message.html").render(message=message, **{"html": "", "plain": ""} | parts).encode()


def main(smtp_port: int, web_port: int, directory: Path) -> int:
    """Take and show until told to stop."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    box = Box(directory)
    taking = Controller(Taker(box), hostname="127.0.0.1", port=smtp_port, enable_SMTPUTF8=True)
    taking.start()
    with StopSignals() as signals, Pages(Reader(box), web_port):
        while not signals.wait(60):
            pass
    taking.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
