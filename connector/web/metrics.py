"""`/metrics` for Prometheus: this process' requests, and what the database says of work, money, mail, deliveries and shops.

Labels are bounded: endpoints of ours, status classes, kinds and states. Never a shop, an address or a number.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from flask import Flask, Response, abort, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from connector.db import Database
from connector.models import Kind
from connector.services import checkup
from connector.web.hosting import here

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ABOUT: Final = {
    "money": "Money rows whose outcome is not settled",
    "mails": "Messages that were not handed over yet",
    "alarms": "Alarms that nobody has cleared",
    "shops": "Shops that are or were installed",
    "deliveries": "Deliveries that are kept, and not worked off",
}


@dataclass(frozen=True, slots=True)
class Books(Collector):
    """What the database says, read at each scrape."""

    database: Database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, with zeros."""
        with self.database.reading() as session:
            now = self.database.now(session)
            work = {row.kind: row for row in checkup.work(session, now=now)}
            counts = checkup.counts(session)
        rows = GaugeMetricFamily("retour_work", "Rows of work that are not done", labels=["kind", "state"])
        age = GaugeMetricFamily("retour_work_oldest_seconds", "How long the oldest row that is due has waited", labels=["kind"])
        for kind in Kind:
            row = work.get(kind.value)
            for state in ("due", "later", "held", "failing", "parked"):
                rows.add_metric([kind.value, state], getattr(row, state) if row else 0)
            waited = (now - row.oldest_due).total_seconds() if row and row.oldest_due else 0.0
            age.add_metric([kind.value], waited)
        yield rows
        yield age
        for name, about in _ABOUT.items():
            family = GaugeMetricFamily(f"retour_{name}", about, labels=["state"])
            for state, many in counts[name].items():
                family.add_metric([state], many)
            yield family


@dataclass(slots=True)
class Meters:
    """The meters of one process."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)

    def __post_init__(self) -> None:
        """Make them."""
        labels = ("endpoint", "status")
        self.requests = Counter("retour_http_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram("retour_http_seconds", "Time to an answer", ("endpoint",), buckets=_BUCKETS, registry=self.registry)

    def count(self, response: Response) -> Response:
        """One answer."""
        endpoint = request.endpoint or "none"
        self.requests.labels(endpoint, f"{response.status_code // 100}xx").inc()
        if (began := g.pop("began", None)) is not None:
            self.seconds.labels(endpoint).observe(time.perf_counter() - began)
        return response


def register(app: Flask) -> None:
    """Count every request, and serve the page."""
    meters = Meters()

    def began() -> None:
        g.began = time.perf_counter()

    def metrics() -> Response:
        """For whoever has RETOUR_METRICS_TOKEN as a bearer token; in development for this machine."""
        settings = here().settings
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if settings.metrics_token:
            if not hmac.compare_digest(shown.encode(), settings.metrics_token.encode()):
                abort(403)
        elif not settings.dev:
            abort(404)
        books = CollectorRegistry()
        books.register(Books(here().database))
        return Response(generate_latest(meters.registry) + generate_latest(books), content_type=CONTENT_TYPE_LATEST)

    app.before_request(began)
    app.after_request(meters.count)
    app.add_url_rule("/metrics", view_func=metrics)
