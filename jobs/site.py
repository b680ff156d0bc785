"""What a handler works with: the database, the way to a shop's store, and a clock for windows inside this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from connector.db import Database, boot_clock
from connector.domain.platform import Platform, Store
from connector.mail import Post
from connector.secrets import Vault
from connector.services.refunds import MARGIN, WINDOW
from connector.services.shops import ShopKeys


class Impatient(ValueError):
    """A store whose quiet period could end while a request of ours is still at work over there."""


@dataclass(frozen=True, slots=True)
class Site:
    """One process' workplace. Tests give it their own database, stores and stopwatch; nothing is patched.

    `base_url` is our own address, which deliveries come to; without one nobody looks after them. `post` is the mail server; without
    one no mail is sent.
    """

    db: Database
    open_store: Callable[[ShopKeys], Store]
    stopwatch: Callable[[], timedelta] = boot_clock
    platforms: Mapping[str, Platform] = field(default_factory=dict)
    vault: Vault | None = None
    base_url: str = ""
    post: Post | None = None

    def store(self, shop: ShopKeys) -> Store:
        """The shop's store, once its patience is long enough for money. Raises `Impatient`."""
        store = self.open_store(shop)
        can = store.capabilities()
        least = WINDOW + can.request_deadline + can.longest_run + MARGIN
        if can.quiet_period < least:
            raise Impatient(f"{shop.domain}: a quiet period of {can.quiet_period} must be at least {least}")
        return store

    def need_vault(self) -> Vault:
        """The keys of this installation. Raises `LookupError` where the workplace was given none."""
        if self.vault is None:
            raise LookupError("this workplace has no vault")
        return self.vault
