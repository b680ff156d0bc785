"""What every part of the shop needs: its settings, shelves, clock and faults, and the queue of events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.simulators.woocommerce.faults import Faults, Kind
from adapters.simulators.woocommerce.settings import ShopSettings
from adapters.simulators.woocommerce.shelves import Shelves, Thing

_TIME: Final = "%Y-%m-%dT%H:%M:%S"


class PhpDied(Exception):
    """The PHP process ended here. `status` 0: WordPress could still say so, as JSON; else the web server did."""

    def __init__(self, status: int = 0) -> None:
        super().__init__("critical error")
        self.status = status


class GoesOn(Exception):
    """The client gave up; `rest` is what the shop does all the same when its clock is `after` further."""

    def __init__(self, rest: Callable[[], object], after: timedelta) -> None:
        super().__init__("goes on alone")
        self.rest, self.after = rest, after


@dataclass(slots=True, kw_only=True)
class Switches:
    """How a shop can be set up badly, or be old."""

    strip_authorization: bool = False  # a proxy or CGI drops the header: only keys in the query arrive
    plain_permalinks: bool = False
    tls_at_proxy: bool = False  # WordPress believes that it is on http
    pretend_tls: bool = False  # http is taken for https, to try what is for https only
    no_v3: bool = False
    old: bool = False  # from before `modified_after`, which it ignores
    deadly: dict[int, bool] = field(default_factory=dict)  # orders that kill PHP where they are shown; True: if only by their ids
    passing: Callable[[str], object] = lambda _name: None  # called at each step of a refund, for tests that stop there


@dataclass(slots=True)
class Site:
    """One shop. Times are UTC, to the second, without saying so, as WordPress keeps them."""

    settings: ShopSettings
    shelves: Shelves
    clock: Callable[[], datetime]
    switches: Switches = field(default_factory=Switches)
    faults: Faults = field(default_factory=Faults)
    url: str = "http://127.0.0.1"  # home_url, without a slash at the end

    def now(self) -> str:
        return written(self.clock())

    def local(self, time: str | None) -> str | None:
        """A stored time as the shop's own wall clock shows it."""
        if time is None:
            return None
        return read(time).astimezone(self.settings.zone()).strftime(_TIME)

    def from_local(self, time: datetime) -> datetime:
        """A naive time of the shop's own wall clock."""
        return time.replace(tzinfo=self.settings.zone()).astimezone(UTC)

    def meta(self, key: str, value: object) -> Thing:
        """A fresh meta entry."""
        return {"id": self.shelves.next("meta"), "key": key, "value": value}

    def step(self, name: str) -> None:
        """Where PHP dies or sleeps, if that was ordered."""
        self.switches.passing(name)
        fault = self.faults.take({name})
        if fault is None:
            return
        time.sleep(fault.seconds)
        if fault.kind is Kind.DIE:
            raise PhpDied(fault.status)

    def emit(self, topic: str, arg: int) -> None:
        """Queue a delivery for each active webhook of this topic. The same one for the same thing is not queued twice."""
        with self.shelves.change():
            for hook in self.shelves.all("webhook"):
                if hook["topic"] != topic or hook["status"] != "active":
                    continue
                if not self.shelves.find("kind = 'job' AND parent = ? AND name = ?", (hook["id"], str(arg))):
                    job = {"id": self.shelves.next("job"), "webhook": hook["id"], "arg": arg, "created": self.now()}
                    self.shelves.put("job", job, name=str(arg), parent=hook["id"])


def written(time: datetime) -> str:
    """UTC, to the second."""
    return time.astimezone(UTC).strftime(_TIME)


def read(time: str) -> datetime:
    return datetime.strptime(time, _TIME).replace(tzinfo=UTC)
