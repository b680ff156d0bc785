"""What may go wrong, on order: in the request, in the gateway, and between the steps of a refund."""

from __future__ import annotations

import threading
from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """One way of going wrong."""

    # the gateway, while `POST refunds` waits for it
    REFUSE = "refuse"  # WP_Error with `words`: nothing is paid, the record goes
    RETURN_FALSE = "return_false"
    THROW = "throw"  # a PHP Exception with `words`
    SLEEP = "sleep"  # takes `seconds`, then pays
    SLEEP_AND_REFUSE = "sleep_and_refuse"
    PAY_AND_REFUSE = "pay_and_refuse"  # pays, then reports an error: "cURL error 28"
    DIE_BEFORE_PAYING = "die_before_paying"  # PHP ends there; `status` 0: WordPress says so, 200: an empty body, 502 and the like: HTML
    DIE_AFTER_PAYING = "die_after_paying"
    GO_ON = "go_on"  # the connection is closed at once; what is left to do is done when the clock is `seconds` further
    DIE = "die"  # at a step of the refund (STEPS)
    # any request
    DROP = "drop"  # closed before anything was done
    LOSE_ANSWER = "lose_answer"  # done, and closed without a byte
    TRUNCATE = "truncate"  # done, and the answer breaks off in the middle
    PAGE = "page"  # an HTML page with `status` where JSON was expected; done first if `effect`
    ANSWER = "answer"  # `words` as the body, with `status` and `content_type`
    REDIRECT = "redirect"  # to `words`, or to the same path with a slash; done first if `effect`
    SLOW = "slow"  # takes `seconds` before it begins
    SLOW_ANSWER = "slow_answer"  # done at once, answered after `seconds`
    DRIP = "drip"  # the answer comes byte by byte, `seconds` apart
    ENDLESS = "endless"  # and never ends
    WAF = "waf"  # 403 HTML of a proxy
    MAINTENANCE = "maintenance"  # 503 HTML, Retry-After 600
    LOGIN_WALL = "login_wall"  # 200 HTML
    NOTICE = "notice"  # a PHP notice before the JSON
    BOM = "bom"
    CACHED = "cached"  # a GET is answered with what it was answered the last time


GATEWAY: Final = frozenset(
    {
        Kind.REFUSE,
        Kind.RETURN_FALSE,
        Kind.THROW,
        Kind.SLEEP,
        Kind.SLEEP_AND_REFUSE,
        Kind.PAY_AND_REFUSE,
        Kind.DIE_BEFORE_PAYING,
        Kind.DIE_AFTER_PAYING,
    }
)
# Where a refund can be made to die, or to sleep, in the order of its effects. Two that sleep "before record" both find enough left.
STEPS: Final = (
    "before record",
    "before gateway",
    "after gateway",
    "before restock",
    "before touch",
    "before hooks",
    "before meta",
    "after meta",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong once. `seconds` are real ones, except for GO_ON: there they are the shop's clock's."""

    kind: Kind
    seconds: float = 0
    words: str = ""
    status: int = 0
    retry_after: str | None = None
    effect: bool = False
    content_type: str = "text/html; charset=UTF-8"


@dataclass(slots=True)
class _Ordered:
    where: str
    fault: Fault
    times: int | None


@dataclass(slots=True)
class Faults:
    """Those that were ordered and not met yet, oldest first."""

    _ordered: list[_Ordered] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def order(self, where: str, fault: Fault, times: int | None) -> None:
        """`times` None: until it is healed."""
        place = "gateway" if fault.kind in GATEWAY and where not in STEPS else where
        with self._mutex:
            self._ordered.append(_Ordered(place, fault, times))

    def take(self, names: Container[str]) -> Fault | None:
        """The oldest for one of these places, used up by this."""
        with self._mutex:
            for one in self._ordered:
                if one.where in names:
                    if one.times is not None:
                        one.times -= 1
                        if one.times < 1:
                            self._ordered.remove(one)
                    return one.fault
        return None

    def heal(self) -> None:
        with self._mutex:
            self._ordered.clear()
