"""Render one message, and hand it over to a mail server.

An SMTP server answers a whole message once, after its last dot (RFC 5321 §4.1.1.4). What fails before that was not sent; where only that
answer is missing, nobody can tell.
"""

from __future__ import annotations

import logging
import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.policy import SMTPUTF8
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, PackageLoader, TemplateError

from connector import formats, links
from connector.config import Settings
from connector.domain import number
from connector.secrets import canonical_email
from connector.services.letters import Event, Letter

log = logging.getLogger(__name__)

_LOCAL: Final = re.compile(r"[^\s@\x00-\x1f\x7f\"(),:;<>\[\\\]]{1,64}")  # unquoted, as shops take them; letters of any script (RFC 6531)
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
_UNWRITABLE: Final = (ValueError, TypeError, AttributeError, LookupError, MessageError, TemplateError)  # of headers, bodies and templates
_PATIENCE: Final = 15.0  # seconds for each answer of a mail server


class NotNow(Exception):
    """Nothing was sent; it may be taken later. The message is a code, such as `451` or `unreachable`."""


class NotEver(Exception):
    """Nothing was sent, and it will not be taken later either. The message is a code."""


class Unanswered(Exception):
    """The message may have been taken: the answer did not come."""


# ── What it says ────────────────────────────────────────────────────────────────────────────────────────────────────


def _pages(*, escaped: bool) -> Environment:
    made = Environment(loader=PackageLoader("connector"), autoescape=escaped, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - text too
    made.add_extension("jinja2.ext.i18n")
    made.install_null_translations(newstyle=True)  # type: ignore[attr-defined]  # the extension's
    made.filters.update(amount=lambda money: formats.amount(money.minor, money.currency), day=formats.day, number=number.show)
    return made


_TEXT: Final = _pages(escaped=False)
_HTML: Final = _pages(escaped=True)


def render(letter: Letter, *, base_url: str, sender: str) -> EmailMessage:
    """The message as it goes out: text and HTML, the same on every attempt while what it says is."""
    message = EmailMessage(policy=SMTPUTF8 if not letter.email.isascii() else WIRE)
    message["From"] = Address(letter.shop, addr_spec=sender)
    message["To"] = _address(letter.email)
    message["Subject"] = " ".join(str(_said_by(letter, _TEXT).subject).split())
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = f"<{letter.name}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    link = _link(letter, base_url)
    items = [f"{item.quantity} × {', '.join(filter(None, (item.title, item.variant)))}" for item in letter.items]
    for pages, kind in ((_TEXT, "txt"), (_HTML, "html")):
        written = pages.get_template(f"mail/letter.{kind}").render(letter=letter, said=_said_by(letter, pages), items=items, link=link)
        if kind == "txt":
            message.set_content(written)
        else:
            message.add_alternative(written, subtype=kind)
    message.set_boundary(f"={letter.name}=")  # else one is drawn by lot
    return message


def _said_by(letter: Letter, pages: Environment) -> Any:  # noqa: ANN401 - what the template of the event sets
    return pages.get_template(f"mail/{letter.event.value}.jinja").make_module({"letter": letter})


def _address(email: str) -> Address:
    """The mailbox, as it may stand in a header: nothing but an address is one (A41)."""
    local, _, domain = canonical_email(email).rpartition("@")
    if not (_LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)):
        raise NotEver("address")
    return Address(username=local, domain=domain)


def _link(letter: Letter, base_url: str) -> str:
    if letter.event is Event.SIGN_IN:
        return base_url + links.sign_in(letter.handle, letter.secret)
    if letter.event is Event.CODE:
        return ""
    return base_url + links.status(letter.handle, letter.number, letter.secret)


# ── How it leaves ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Post:
    """A mail server: `smtp://` with STARTTLS where it is offered, or `smtps://`. A password goes over an encrypted connection only."""

    url: str = field(repr=False)
    sender: str
    base_url: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The one that the settings name, or None."""
        return cls(settings.smtp_url, settings.mail_from, settings.base_url) if settings.smtp_url else None

    def hand_over(self, letter: Letter) -> None:
        """Give one message to the server, once. Raises `NotNow`, `NotEver`, `Unanswered`."""
        to, written = self._written(letter)
        with self._connected() as server:
            options = self._options(server, to)
            try:
                _welcomed(server.mail(self.sender, options))
                _said(server.rcpt(to))
            except (OSError, smtplib.SMTPException):
                raise NotNow("unreachable") from None
            _data(server, written)

    def _written(self, letter: Letter) -> tuple[str, bytes]:
        """To whom, and the message as it goes over the wire, before anybody is called."""
        try:
            message = render(letter, base_url=self.base_url, sender=self.sender)
            return str(message["To"].addresses[0].addr_spec), message.as_bytes()
        except _UNWRITABLE as fault:
            log.warning("mail.not_rendered", extra={"mail": letter.name, "error": type(fault).__name__})  # not its words: they quote
            raise NotEver("render") from None

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        parts = urlsplit(self.url)
        host, secure = parts.hostname or "", parts.scheme == "smtps"
        us = urlsplit(self.base_url).hostname or "localhost"  # who greets; asked of nobody
        trust = ssl.create_default_context()
        try:
            if secure:
                server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, us, timeout=_PATIENCE, context=trust)
            else:
                server = smtplib.SMTP(host, parts.port or 587, us, timeout=_PATIENCE)
        except (OSError, smtplib.SMTPException):
            raise NotNow("unreachable") from None
        try:
            self._greet(server, trust, secure=secure)
            yield server
        finally:
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()

    def _greet(self, server: smtplib.SMTP, trust: ssl.SSLContext, *, secure: bool) -> None:
        parts = urlsplit(self.url)
        try:
            server.ehlo_or_helo_if_needed()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=trust)
                server.ehlo()
                secure = True
            if parts.username is not None:
                if not (secure or near(parts.hostname or "")):
                    raise NotNow("not_encrypted")
                server.login(unquote(parts.username), unquote(parts.password or ""))
        except smtplib.SMTPAuthenticationError:
            raise NotNow("login") from None
        except (OSError, smtplib.SMTPException):
            raise NotNow("unreachable") from None

    @staticmethod
    def _options(server: smtplib.SMTP, to: str) -> list[str]:
        if to.isascii():
            return []
        if not server.has_extn("smtputf8"):
            raise NotEver("not_ascii")
        return ["SMTPUTF8", "BODY=8BITMIME"]


def near(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _welcomed(answer: tuple[int, bytes]) -> None:
    """Whether the server takes mail from us. Where it does not, our settings are wrong, and no shopper's address is."""
    if not 200 <= answer[0] < 300:
        raise NotNow(str(answer[0]))


def _said(answer: tuple[int, bytes]) -> None:
    """What a server's answer means. Its words may quote an address: the code alone is kept."""
    code = answer[0]
    if 500 <= code < 600:
        raise NotEver(str(code))
    if not 200 <= code < 300:
        raise NotNow(str(code))


def _data(server: smtplib.SMTP, message: bytes) -> None:
    try:
        _said(server.data(message))
    except smtplib.SMTPDataError as refusal:  # it did not even want to hear it
        _said((refusal.smtp_code, b""))
        raise NotNow(str(refusal.smtp_code)) from None
    except (OSError, smtplib.SMTPException):
        raise Unanswered from None
