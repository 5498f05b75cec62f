"""Counting by the catalogue, for Prometheus to read. Sole importer of prometheus_client."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from crewstream.meters import COUNTERS, GAUGES, HISTOGRAMS, CounterName, GaugeName, HistogramName

# A crew answers in seconds or works for the better part of an hour.
BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

# A project or topic name comes from our own files, but a label must not grow without end.
MAX_SERIES = 500
OTHER = "other"

Kind = TypeVar("Kind", Counter, Histogram, Gauge)


class Metrics:
    """The meter of this process."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, metric.about, metric.labels, registry=own)
            for name, metric in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, metric.about, metric.labels, buckets=BUCKETS_S, registry=own)
            for name, metric in HISTOGRAMS.items()
        }
        self._gauges = {
            name: Gauge(name, metric.about, metric.labels, registry=own)
            for name, metric in GAUGES.items()
        }
        ProcessCollector(registry=own)
        self._series: dict[str, dict[tuple[str, ...], Any]] = {}

    def count(self, name: CounterName, by: float = 1, **labels: str) -> None:
        """Add to a counter. Raises ValueError when the labels are not the catalogue's."""
        self._series_of(self._counters[name], name, labels).inc(by)

    def observe(self, name: HistogramName, value: float, **labels: str) -> None:
        """Add a value, in the unit that the name ends with. Raises ValueError as `count`."""
        self._series_of(self._histograms[name], name, labels).observe(value)

    def timed(self, name: HistogramName, **labels: str) -> AbstractContextManager[object]:
        """Observe how long a block takes, in seconds. Raises ValueError as `count`."""
        timer: AbstractContextManager[object] = self._series_of(
            self._histograms[name], name, labels
        ).time()
        return timer

    def gauge(self, name: GaugeName, value: float, **labels: str) -> None:
        """Set a gauge. Raises ValueError as `count`."""
        self._series_of(self._gauges[name], name, labels).set(value)

    def render(self) -> tuple[bytes, str]:
        """All of them in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _series_of(self, metric: Kind, name: str, labels: dict[str, str]) -> Kind:
        if not labels:
            return metric
        series = self._series.setdefault(name, {})
        values = tuple(labels.values())
        found: Kind | None = series.get(values)
        if found is None:
            if len(series) >= MAX_SERIES:
                return metric.labels(**dict.fromkeys(labels, OTHER))
            found = series[values] = metric.labels(**labels)
        return found
