"""Follow store credit that was used: what an order left of it gets a code of its own, where the platform would lose it."""

from __future__ import annotations

import uuid

from connector.services import store_credit
from jobs.site import Site


def follow(site: Site, use_id: uuid.UUID) -> None:
    """Look at one code in one order, and write down what became of it. Safe to run at any time, also twice at once.

    The far side is made right by convergent steps (the old code is lowered before the new one is made), so a run that dies
    between them is finished by the next.

    Raises: `Throttled`, `Revoked`, `OutcomeUnknown`, `Rejected` as the store raises them; nothing is written down then.
    """
    with site.db.reading() as session:
        seen = store_credit.following(session, use_id)
    found = site.store(seen.shop).reissue_credit(seen.used)
    with site.db.transaction() as session:
        store_credit.followed(session, use_id, found, changed_at=seen.changed_at, now=site.db.now(session))
