"""The order as its store shows it at this moment: asked for only where money is decided, outside any transaction, and by few at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from connector import wiring
from connector.domain.connecting import NotConnectable
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import PlatformError, Rejected, Revoked
from connector.models import ShopStatus
from connector.secrets import Unreadable
from connector.web.desk_seat import Seat
from connector.web.hosting import here

log = logging.getLogger(__name__)


class NotFresh(Exception):
    """The store did not show the order: `crowded`, `away`, `gone`, `refused`, `left`. Nothing was done."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Fresh:
    """An order, and when its reading began, by the database's clock."""

    order: Order
    began: datetime


def fresh(seat: Seat, ref: OrderRef) -> Fresh:
    """Ask the store now; its adapter bounds how long that may take. Raises `NotFresh`."""
    hosting, shop = here(), seat.desk.shop
    if seat.desk.status is not ShopStatus.ACTIVE:
        raise NotFresh("refused" if seat.desk.status is ShopStatus.REVOKED else "left")
    if not hosting.asking.acquire(blocking=False):
        raise NotFresh("crowded")
    try:
        with hosting.database.reading() as session:
            began = hosting.database.now(session)
        return Fresh(wiring.opener(hosting.settings, hosting.platforms)(shop).order(ref), began)
    except Rejected as no:
        raise NotFresh("gone") from no
    except Revoked as no:
        raise NotFresh("refused") from no
    except (PlatformError, NotConnectable, Unreadable, wiring.UnknownPlatform) as trouble:
        log.warning("desk.not_fresh", extra={"shop": shop.id.hex, "error": type(trouble).__name__})
        raise NotFresh("away") from trouble
    finally:
        hosting.asking.release()
