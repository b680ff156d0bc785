"""A mail server for tests: real SMTP on localhost, which can be told to refuse, to fall silent, or to hang up."""

from __future__ import annotations

import email
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from threading import Event as Flag
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Mailbox:
    """What came, in order; `sender`, `rcpt` and `data` are what is answered instead, `hang_up` cuts the line where the answer is due."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    sender: str = ""
    rcpt: str = ""
    data: str = ""
    hang_up: bool = False
    came: Flag = field(default_factory=Flag)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's
        if self.sender:
            return self.sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.data:
            return self.data
        content: Any = envelope.content
        message = email.message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        self.wire.append(content)
        self.to += envelope.rcpt_tos
        self.came.set()
        if self.hang_up:
            transport: Any = server.transport
            transport.abort()
        return "250 taken"


@contextmanager
def mailbox(**how: Any) -> Iterator[Mailbox]:
    """One that listens while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    box = Mailbox(port, **how)
    listening = Controller(box, hostname="127.0.0.1", port=port, enable_SMTPUTF8=True)
    listening.start()
    try:
        yield box
    finally:
        listening.stop()
