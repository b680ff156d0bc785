"""The life of an RMA on three separate axes: the case, each unit, and its money. Each axis is one table.

The tables say what *may* happen; a service does it. Guards and buttons both read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class IllegalMove(ValueError):
    """The table does not lead anywhere from here."""

    def __init__(self, state: StrEnum, move: StrEnum) -> None:
        """`state` and `move` are of one axis."""
        super().__init__(f"{move.value} is not possible from {state.value}")
        self.state, self.move = state, move


class RmaState(StrEnum):
    """Where the case stands."""

    REQUESTED = "requested"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RECEIVED = "received"
    RESOLVED = "resolved"


class Move(StrEnum):
    """What may be done with a case."""

    AUTHORISE = "authorise"
    DECLINE = "decline"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RECEIVE = "receive"
    WAIVE_RECEIPT = "waive_receipt"
    RESOLVE = "resolve"
    REOPEN = "reopen"


_S, _M = RmaState, Move
MOVES: Final[Mapping[tuple[RmaState, Move], RmaState]] = MappingProxyType(
    {
        (_S.REQUESTED, _M.AUTHORISE): _S.AUTHORISED,
        (_S.REQUESTED, _M.DECLINE): _S.DECLINED,
        (_S.REQUESTED, _M.CANCEL): _S.CANCELLED,
        (_S.AUTHORISED, _M.CANCEL): _S.CANCELLED,
        (_S.AUTHORISED, _M.EXPIRE): _S.EXPIRED,
        (_S.AUTHORISED, _M.RECEIVE): _S.RECEIVED,
        (_S.AUTHORISED, _M.WAIVE_RECEIPT): _S.RECEIVED,  # "keep the item": nothing will come
        (_S.RECEIVED, _M.RECEIVE): _S.RECEIVED,  # a second parcel of the same RMA
        (_S.RECEIVED, _M.RESOLVE): _S.RESOLVED,
        (_S.RESOLVED, _M.REOPEN): _S.RECEIVED,  # the payment did not happen: decide again
        (_S.EXPIRED, _M.RECEIVE): _S.RECEIVED,  # it came after all; staff may take it in
    }
)

# Units of a case in these states are spoken for: nobody can claim them again.
HOLDS_UNITS: Final = frozenset({_S.REQUESTED, _S.AUTHORISED, _S.RECEIVED, _S.RESOLVED})


def after(state: RmaState, move: Move) -> RmaState:
    """The state that `move` leads to. Raises `IllegalMove`."""
    try:
        return MOVES[state, move]
    except KeyError:
        raise IllegalMove(state, move) from None


def open_to(state: RmaState) -> tuple[Move, ...]:
    """The moves that the table allows from `state`, in the order of `Move`: what the desk may offer as buttons."""
    return tuple(move for move in Move if (state, move) in MOVES)


class Disposition(StrEnum):
    """What becomes of one unit."""

    AWAITED = "awaited"
    RECEIVED = "received"  # counted, not judged yet
    RESTOCK = "restock"
    DAMAGED = "damaged"
    REFURBISH = "refurbish"
    DISPOSE = "dispose"
    KEPT = "kept"  # by the shopper: returnless
    MISSING = "missing"  # announced, not in the parcel
    SENT_BACK = "sent_back"  # refused goods: the shopper has them again


_D = Disposition
JUDGED: Final = frozenset({_D.RESTOCK, _D.DAMAGED, _D.REFURBISH, _D.DISPOSE})
# What a unit may become. Judging again is allowed until its money has been asked for (a service checks that).
BECOMES: Final[Mapping[Disposition, frozenset[Disposition]]] = MappingProxyType(
    {
        _D.AWAITED: frozenset({_D.RECEIVED, _D.KEPT, _D.MISSING}) | JUDGED,
        _D.RECEIVED: JUDGED | {_D.SENT_BACK},
        **dict.fromkeys(JUDGED, JUDGED | {_D.SENT_BACK}),
        _D.MISSING: frozenset({_D.RECEIVED}) | JUDGED,
        _D.KEPT: frozenset(),
        _D.SENT_BACK: frozenset(),
    }
)
# Units that the shopper is given money for, unless a person decides otherwise.
ACCEPTED: Final = JUDGED | {_D.KEPT}


def disposed(was: Disposition, becomes: Disposition) -> Disposition:
    """`becomes`, where a unit may go there. Raises `IllegalMove`."""
    if becomes not in BECOMES[was]:
        raise IllegalMove(was, becomes)
    return becomes


class MoneyState(StrEnum):
    """Where one call to a platform that gives money back stands."""

    PENDING = "pending"  # reserved; no request can have left
    SENT = "sent"  # asked and unanswered: the outcome is unknown
    SETTLED = "settled"  # the platform's receipt is recorded
    REFUSED = "refused"  # it did not happen; the reservation is released
    PARKED = "parked"  # a person is asked, with the facts in front of them


class MoneyMove(StrEnum):
    """What may happen to a money row."""

    MARK = "mark"
    UNMARK = "unmark"
    SETTLE = "settle"
    REFUSE = "refuse"
    PARK = "park"


_C, _N = MoneyState, MoneyMove
MONEY_MOVES: Final[Mapping[tuple[MoneyState, MoneyMove], MoneyState]] = MappingProxyType(
    {
        (_C.PENDING, _N.MARK): _C.SENT,
        (_C.SENT, _N.MARK): _C.SENT,  # only after a look that proved the last attempt absent
        (_C.SENT, _N.UNMARK): _C.PENDING,
        (_C.PENDING, _N.SETTLE): _C.SETTLED,  # a receipt is evidence, whoever brings it
        (_C.SENT, _N.SETTLE): _C.SETTLED,
        (_C.PARKED, _N.SETTLE): _C.SETTLED,
        (_C.REFUSED, _N.SETTLE): _C.SETTLED,  # it had been closed as unpaid, and nothing took its place
        (_C.PENDING, _N.REFUSE): _C.REFUSED,
        (_C.SENT, _N.REFUSE): _C.REFUSED,
        (_C.PARKED, _N.REFUSE): _C.REFUSED,
        (_C.PENDING, _N.PARK): _C.PARKED,
        (_C.SENT, _N.PARK): _C.PARKED,
    }
)

# States whose amount is still reserved although no snapshot may show it.
RESERVES: Final = frozenset({_C.PENDING, _C.SENT, _C.PARKED})
OPEN: Final = frozenset({_C.PENDING, _C.SENT})


def money_after(state: MoneyState, move: MoneyMove) -> MoneyState:
    """The state that `move` leads a money row to. Raises `IllegalMove`."""
    try:
        return MONEY_MOVES[state, move]
    except KeyError:
        raise IllegalMove(state, move) from None
