"""Show an RMA on its platform: one convergent upsert, safe to repeat."""

from __future__ import annotations

import uuid
from datetime import timedelta

from connector.services import rmas
from connector.services.outbox import Later
from jobs.site import Site


def show(site: Site, rma_id: uuid.UUID) -> None:
    """Mirror the RMA as it stands now. Raises `Throttled`, `Revoked`, or `OutcomeUnknown` where it must be tried again.

    Two rows of one RMA may be worked at once, and the older view may arrive last. So whoever has shown it looks once more.

    Raises:
        Later: the RMA changed meanwhile, and what the platform shows may be older than what another run showed.
    """
    with site.db.reading() as session:
        keys, view = rmas.mirrored(session, rma_id)
    reference = site.store(keys).mirror_return(view)
    with site.db.transaction() as session:
        rmas.shown(session, rma_id, reference)
        _, now = rmas.mirrored(session, rma_id)
    if now != view:
        raise Later(timedelta(0), "mirror.overtaken")
