"""Show an RMA on its platform: one convergent upsert, safe to repeat."""

from __future__ import annotations

import uuid

from connector.services import rmas
from jobs.site import Site


def show(site: Site, rma_id: uuid.UUID) -> None:
    """Mirror the RMA as it stands now. Raises `Throttled`, `Revoked`, or `OutcomeUnknown` where it must be tried again."""
    with site.db.reading() as session:
        keys, view = rmas.mirrored(session, rma_id)
    reference = site.store(keys).mirror_return(view)
    with site.db.transaction() as session:
        rmas.shown(session, rma_id, reference)
