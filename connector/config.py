"""Settings: everything that the environment decides, read once and loudly."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from connector import embedded
from connector.secrets import new_key

_DATABASE = "retour.db"
_SHORTEST_SEAL_KEY = 32  # characters
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Misconfigured(Exception):
    """The environment asks for something that cannot be; the message says which variable and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation of Retour.

    `secret_keys` encrypt what is kept (the first encrypts, all decrypt), `digest_key` finds people again without
    knowing them and never rotates, `seal_key` closes the timeline.
    """

    data_dir: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    secret_keys: tuple[str, ...] = field(repr=False)
    digest_key: str = field(repr=False)
    seal_key: str = field(repr=False)
    base_url: str = "http://127.0.0.1:8000"
    dev: bool = False
    smtp_url: str = field(default="", repr=False)  # empty: no mail is sent, and the desk and `retour doctor` say so
    mail_from: str = ""
    proxies: int = 0  # how many proxies of ours stand in front and add to X-Forwarded-For
    metrics_token: str = field(default="", repr=False)
    threads: int = 4
    kinds: frozenset[str] | None = None  # None: every kind that this version knows

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings that the environment asks for. Keys that are not given are made once and kept in the data directory.

        Raises:
            Misconfigured: with the name of the variable and what to do.
        """
        env = os.environ if environ is None else environ
        data = Path(env.get("RETOUR_DATA") or ".retour").resolve()
        dev = _flag(env, "RETOUR_DEV")
        base = _base_url(env.get("BASE_URL") or "http://127.0.0.1:8000", dev=dev)
        alone = not env.get("DATABASE_URL")
        keys = tuple(key.strip() for key in env.get("RETOUR_SECRET_KEYS", "").split(",") if key.strip())
        digest, seal = env.get("RETOUR_DIGEST_KEY", ""), env.get("RETOUR_SEAL_KEY", "")
        if alone:
            keys = keys or (_kept(data, "secret.key"),)
            digest = digest or _kept(data, "digest.key")
            seal = seal or _kept(data, "seal.key")
        for name, value in {"RETOUR_SECRET_KEYS": keys, "RETOUR_DIGEST_KEY": digest, "RETOUR_SEAL_KEY": seal}.items():
            if not value:
                raise Misconfigured(
                    f"{name} is needed beside DATABASE_URL: every machine must hold the same key. `retour keys` prints a fresh set"
                )
        if len(seal) < _SHORTEST_SEAL_KEY:
            raise Misconfigured("RETOUR_SEAL_KEY is too short to seal anything; `retour keys` prints a fresh set")
        return cls(
            data_dir=data,
            database_url=_database_url(env.get("DATABASE_URL", "")) if not alone else _sqlite(data / _DATABASE),
            redis_url=_redis_url(env.get("REDIS_URL", "")) or embedded.redis_url(data),
            secret_keys=keys,
            digest_key=digest,
            seal_key=seal,
            base_url=base,
            dev=dev,
            smtp_url=_smtp_url(env.get("SMTP_URL", "")),
            mail_from=_mail_from(env.get("MAIL_FROM", ""), needed=bool(env.get("SMTP_URL"))),
            proxies=_whole(env, "RETOUR_PROXIES", 0, lowest=0, highest=9),
            metrics_token=env.get("RETOUR_METRICS_TOKEN", ""),
            threads=_whole(env, "RETOUR_THREADS", 4, lowest=2),
            kinds=_kinds(env.get("RETOUR_KINDS", "")),
        )


def _base_url(url: str, *, dev: bool) -> str:
    """Our own address, which links in mails and on pages begin with; without a slash at its end."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    rest = (parts.username, parts.password, parts.query, parts.fragment)
    if parts.scheme not in {"http", "https"} or not host or any(rest) or not url.isascii() or any(sign.isspace() for sign in url):
        raise Misconfigured("BASE_URL must be the address that shoppers reach, such as https://returns.example.com")
    if dev and host not in _LOOPBACK:
        raise Misconfigured(f"RETOUR_DEV=1 opens loopback and http shops and must not meet a public BASE_URL ({url}); unset one of them")
    return url.rstrip("/")


def _database_url(url: str) -> str:
    """SQLAlchemy's form of the address that hosts hand out. What is wrong with one is never quoted: it may hold a password."""
    scheme, _, rest = url.partition(":")
    if scheme in {"postgres", "postgresql", "postgresql+psycopg"} and rest.startswith("//"):
        return f"postgresql+psycopg:{rest}"
    if scheme == "sqlite" and rest.startswith("///") and rest not in {"///", "///:memory:"}:
        return url
    raise Misconfigured("DATABASE_URL must begin with postgresql:// or be sqlite:/// and the path of a file")


def _sqlite(path: Path) -> str:
    """SQLAlchemy's form of a path. A question mark would begin its options."""
    if "?" in str(path):
        raise Misconfigured(
            f"RETOUR_DATA: {path.parent} has a question mark in its name, which no address of a database can hold; name another"
        )
    return f"sqlite:///{path}"


def _redis_url(url: str) -> str:
    """An address of Redis that can be one. What is wrong with it is never quoted: it may hold a password."""
    if not url:
        return url
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0  # reading a port that is none raises
    except ValueError:
        fits = False
    if not fits:
        raise Misconfigured(
            "REDIS_URL must be redis://, rediss:// or unix:// and an address; signs such as / in its password are written %2F"
        )
    return url


def _smtp_url(url: str) -> str:
    """Where mail is handed over. What is wrong with it is never quoted: it may hold a password."""
    if not url:
        return url
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"}
    except ValueError:
        fits = False
    if not fits:
        raise Misconfigured(
            "SMTP_URL must be smtp:// (STARTTLS where offered) or smtps:// and an address, such as smtp://user:password@mail.example.com:587;"
            " signs such as / in its password are written %2F"
        )
    return url


def _mail_from(text: str, *, needed: bool) -> str:
    """The address that our mail comes from."""
    if not text and needed:
        raise Misconfigured("MAIL_FROM is needed beside SMTP_URL: the address that mail comes from, such as returns@example.com")
    if text and not re.fullmatch(r"[\x21-\x7e]{1,64}@[A-Za-z0-9.-]{1,190}", text):
        raise Misconfigured("MAIL_FROM must be a plain address, such as returns@example.com, without a name")
    return text


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "")
    if text not in {"", "0", "1"}:
        raise Misconfigured(f"{name} must be 1, or 0, or not set, not {text!r}")
    return text == "1"


def _kinds(text: str) -> frozenset[str] | None:
    kinds = frozenset(kind.strip() for kind in text.split(",") if kind.strip())
    if text and not kinds:
        raise Misconfigured("RETOUR_KINDS names no kind of work; unset it for a worker that does every kind")
    return kinds or None


def _whole(env: Mapping[str, str], name: str, default: int, *, lowest: int, highest: int = 999) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and lowest <= int(text) <= highest):
        raise Misconfigured(f"{name} must be a whole number from {lowest} to {highest}, not {text[:20]!r}")
    return int(text)


def _kept(data: Path, name: str) -> str:
    """A key of the embedded default: made once, before there is a database, and readable by its owner alone."""
    path = data / name
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            if (data / _DATABASE).exists():
                raise Misconfigured(f"{path} is missing, and {_DATABASE} was made with it; restore it from a backup")
            _make(path, new_key())
        kept = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise Misconfigured(f"{path} holds no key; restore it from a backup") from None
    except OSError as trouble:
        raise Misconfigured(f"RETOUR_DATA: {path}: {trouble.strerror}; name a directory that this user may write to") from trouble
    if not kept:
        raise Misconfigured(f"{path} is empty; restore it from a backup (what it encrypted cannot be read without it)")
    return kept


def _make(path: Path, fresh: str) -> None:
    """The whole file or none, also where several processes are at it or the power goes: the first one's key counts."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
