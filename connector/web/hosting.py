"""What a view needs of its process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Flask, current_app

from connector.config import Settings
from connector.db import Database
from connector.domain.platform import Platform
from connector.secrets import Vault
from connector.web.doors import Door

_NAME = "retour"


@dataclass(frozen=True, slots=True)
class Hosting:
    """Everything that outlives a request. `asking` bounds how many requests may wait for a store: the others need the threads."""

    settings: Settings
    database: Database
    vault: Vault
    platforms: Mapping[str, Platform]
    door: Door
    asking: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(3))

    def serve(self, app: Flask) -> None:
        app.extensions[_NAME] = self


def here() -> Hosting:
    found = current_app.extensions[_NAME]
    assert isinstance(found, Hosting)  # noqa: S101 - typing only
    return found
