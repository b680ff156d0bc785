"""Where the shop keeps its things: one SQLite file, or memory. What is written there survives the process.

WooCommerce has no transaction around a refund: each step of it is a write of its own, and so it is here.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

Thing: TypeAlias = dict[str, Any]  # JSON as the shop stores it

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS things (kind TEXT NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, parent INTEGER NOT NULL,
    created TEXT NOT NULL, modified TEXT NOT NULL, status TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id));
CREATE INDEX IF NOT EXISTS by_name ON things (kind, name);
CREATE INDEX IF NOT EXISTS by_parent ON things (kind, parent);
CREATE INDEX IF NOT EXISTS by_modified ON things (kind, modified);
CREATE INDEX IF NOT EXISTS by_created ON things (kind, created);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
"""
_PUT: Final = "INSERT OR REPLACE INTO things (kind, id, name, parent, created, modified, status, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Shelves:
    """The shop's things by kind and id, each a JSON object. `name` and `parent` are what else one can be found by."""

    path: Path | str
    _db: sqlite3.Connection = field(init=False, repr=False)
    _mutex: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _depth: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # it has to survive its process, not a power cut
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Read and write without anybody in between. Never held while a gateway or a webhook is called."""
        with self._mutex:
            if not self._depth:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if not self._depth:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if not self._depth:
                self._db.execute("COMMIT")

    def next(self, counter: str) -> int:
        """A fresh id. Orders, refunds, coupons and products share one counter, as WordPress posts do."""
        with self._mutex:
            row = self._db.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last", (counter,)
            ).fetchone()
            return int(row[0])

    def at_least(self, counter: str, value: int) -> None:
        """Ids up to `value` are taken."""
        with self._mutex:
            self._db.execute("INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET last = max(last, ?2)", (counter, value))

    def put(self, kind: str, thing: Thing, *, name: str = "", parent: int = 0) -> None:
        """Write one, whole."""
        times = (thing.get("created") or "", thing.get("modified") or "", str(thing.get("status") or ""))
        with self._mutex:
            self._db.execute(_PUT, (kind, thing["id"], name, parent, *times, json.dumps(thing)))

    def get(self, kind: str, ref: int) -> Thing | None:
        return self._one("kind = ? AND id = ?", (kind, ref))

    def named(self, kind: str, name: str) -> Thing | None:
        return self._one("kind = ? AND name = ? ORDER BY id", (kind, name))

    def of(self, kind: str, parent: int) -> list[Thing]:
        return self.find("kind = ? AND parent = ? ORDER BY id", (kind, parent))

    def all(self, kind: str) -> list[Thing]:
        return self.find("kind = ? ORDER BY id", (kind,))

    def drop(self, kind: str, ref: int) -> None:
        with self._mutex:
            self._db.execute("DELETE FROM things WHERE kind = ? AND id = ?", (kind, ref))

    def find(self, where: str, values: Sequence[object]) -> list[Thing]:
        """All that fit. `where` is code of this package, never anything that came in a request."""
        with self._mutex:
            rows = self._db.execute(f"SELECT body FROM things WHERE {where}", values).fetchall()  # noqa: S608
        return [json.loads(body) for (body,) in rows]

    def count(self, where: str, values: Sequence[object]) -> int:
        """How many fit."""
        with self._mutex:
            return int(self._db.execute(f"SELECT count(*) FROM things WHERE {where}", values).fetchone()[0])  # noqa: S608

    def _one(self, where: str, values: Sequence[object]) -> Thing | None:
        found = self.find(f"{where} LIMIT 1", values)
        return found[0] if found else None
