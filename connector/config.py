"""Settings: everything that the environment decides, read once and loudly."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from connector import embedded
from connector.secrets import new_key

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
        dev = env.get("RETOUR_DEV", "") == "1"
        base = env.get("BASE_URL") or "http://127.0.0.1:8000"
        if dev and urlsplit(base).hostname not in _LOOPBACK:
            raise Misconfigured(
                f"RETOUR_DEV=1 opens loopback and http shops and must not meet a public BASE_URL ({base}); unset one of them"
            )
        alone = not env.get("DATABASE_URL")
        keys = tuple(key.strip() for key in env.get("RETOUR_SECRET_KEYS", "").split(",") if key.strip())
        digest, seal = env.get("RETOUR_DIGEST_KEY", ""), env.get("RETOUR_SEAL_KEY", "")
        if alone:
            keys = keys or (_kept(data, "secret.key", new_key()),)
            digest = digest or _kept(data, "digest.key", new_key())
            seal = seal or _kept(data, "seal.key", new_key())
        for name, value in {"RETOUR_SECRET_KEYS": keys, "RETOUR_DIGEST_KEY": digest, "RETOUR_SEAL_KEY": seal}.items():
            if not value:
                raise Misconfigured(
                    f"{name} is needed beside DATABASE_URL: every machine must hold the same key. `retour keys` prints a fresh set"
                )
        return cls(
            data_dir=data,
            database_url=_database_url(env.get("DATABASE_URL") or f"sqlite:///{data / 'retour.db'}"),
            redis_url=env.get("REDIS_URL") or embedded.redis_url(data),
            secret_keys=keys,
            digest_key=digest,
            seal_key=seal,
            base_url=base.rstrip("/"),
            dev=dev,
            threads=_whole(env, "RETOUR_THREADS", 4, lowest=2),
            kinds=frozenset(kind.strip() for kind in env["RETOUR_KINDS"].split(",") if kind.strip()) if env.get("RETOUR_KINDS") else None,
        )


def _database_url(url: str) -> str:
    """SQLAlchemy's form of the address that hosts hand out."""
    scheme, rest = url.split(":", 1) if ":" in url else (url, "")
    match scheme:
        case "postgres" | "postgresql":
            return f"postgresql+psycopg:{rest}"
        case "postgresql+psycopg" | "sqlite":
            return url
        case _:
            raise Misconfigured("DATABASE_URL must begin with postgresql:// or sqlite:///")


def _whole(env: Mapping[str, str], name: str, default: int, *, lowest: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) < lowest:
        raise Misconfigured(f"{name} must be a whole number of at least {lowest}, not {text!r}")
    return int(text)


def _kept(data: Path, name: str, fresh: str) -> str:
    """A key of the embedded default: made once, readable by its owner alone."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data / name
    if not path.exists():
        draft = data / f".{name}.{os.getpid()}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(draft, path)
        draft.unlink()
    kept = path.read_text(encoding="ascii").strip()
    if not kept:
        raise Misconfigured(f"{path} is empty; restore it from a backup (what it encrypted cannot be read without it)")
    return kept
