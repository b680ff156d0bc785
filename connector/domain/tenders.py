"""Which payment of an order takes how much back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.domain.orders import Tender, TenderRef
from connector.domain.platform import TenderPart


@dataclass(frozen=True, slots=True)
class TenderOrder:
    """In which order tenders are filled: those named first, then the others, newest first unless said otherwise."""

    first: tuple[TenderRef, ...] = ()
    oldest_first: bool = False


NEWEST_FIRST = TenderOrder()


def room(tender: Tender) -> int:
    """What can still go back to `tender`, minor units; never negative, whatever was refunded to it elsewhere."""
    return max(0, tender.captured - tender.refunded)


def ordered(tenders: Sequence[Tender], by: TenderOrder) -> list[Tender]:
    """`tenders` (oldest first, as an order lists them) in the order in which they are filled."""
    named = {ref: place for place, ref in enumerate(by.first)}
    rest = list(tenders) if by.oldest_first else list(reversed(tenders))
    return sorted(rest, key=lambda tender: named.get(tender.id, len(named)))  # stable: who is not named stays as it was


def spread(amount: int, tenders: Sequence[Tender], by: TenderOrder) -> tuple[TenderPart, ...]:
    """`amount` (minor units) over `tenders`: each takes what it can, the overflow goes to the next; no empty parts.

    Raises:
        ValueError: the tenders cannot take that much.
    """
    parts: list[TenderPart] = []
    for tender in ordered(tenders, by):
        if taken := min(amount, room(tender)):
            parts.append(TenderPart(tender.id, taken))
            amount -= taken
    if amount:
        raise ValueError(f"{amount} minor units fit into no tender")
    return tuple(parts)
