"""Metrics: figures for Prometheus, of jobs from the store and of requests as they are answered."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deepsmile.store.database import Database
from deepsmile.store.upkeep import Totals, totals


class Metrics:
    """One app's figures."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._registry.register(_Jobs(database))
        self._requests = Counter(
            "deepsmile_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )

    def count_request(self, method: str, route: str, status: int) -> None:
        """Note an answer; `route` is a template, never a path with an id in it."""
        self._requests.labels(method, route, str(status)).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format.

        Raises:
            StoreUnavailable.
        """
        return generate_latest(self._registry)


class _Jobs(Collector):
    """Counted in the store at every scrape, so that all processes tell the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        """Names alone, so that registering asks the store nothing."""
        return _families(Totals({}, None, 0, 0.0, 0), 0.0)

    def collect(self) -> Iterator[Metric]:
        return _families(totals(self._database), time.time())


def _families(found: Totals, now: float) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("deepsmile_jobs", "Jobs by state.", labels=("state",))
    for state, count in found.by_state.items():
        jobs.add_metric((state.value,), count)
    yield jobs
    age_s = now - found.oldest_waiting if found.oldest_waiting is not None else 0.0
    yield GaugeMetricFamily(
        "deepsmile_oldest_waiting_seconds", "Age of the job that waits longest.", max(age_s, 0.0)
    )
    yield CounterMetricFamily("deepsmile_tiles", "Tiles scored.", found.tiles)
    yield CounterMetricFamily("deepsmile_scoring_seconds", "Time spent scoring.", found.seconds)
    yield CounterMetricFamily("deepsmile_lost_attempts", "Attempts that failed.", found.losses)
