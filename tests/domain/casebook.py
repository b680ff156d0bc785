"""The casebook: readable cases with the sentence why their number is right, each derived by hand from the rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "casebook"


@dataclass(frozen=True, slots=True)
class Entry:
    """One case. `raw` is what the command reads: the case without its name, its why and what is expected."""

    name: str
    why: str
    raw: bytes
    expect: Mapping[str, Any]


def entries() -> list[Entry]:
    """All cases of all files."""
    return [_entry(file.stem, found) for file in sorted(FOLDER.glob("*.json")) for found in json.loads(file.read_text("utf-8"))]


def _entry(theme: str, found: dict[str, Any]) -> Entry:
    raw = found["raw"] if "raw" in found else json.dumps(found["case"])
    return Entry(f"{theme}: {found['name']}", found["why"], raw.encode(), found["expect"])
