"""Counting by the catalogue of metrics."""

from __future__ import annotations

from typing import get_args

import pytest

from crewstream import meters
from crewstream.adapters.prometheus import MAX_SERIES, Metrics


def rendered(metrics: Metrics) -> str:
    return metrics.render()[0].decode()


def test_what_is_counted_is_rendered() -> None:
    metrics = Metrics()
    metrics.count("crewstream_tokens_total", 3, project="p", direction="input")
    metrics.observe("crewstream_task_seconds", 42, project="p")
    metrics.gauge("crewstream_ready", 1)
    text = rendered(metrics)
    assert 'crewstream_tokens_total{direction="input",project="p"} 3.0' in text
    assert 'crewstream_task_seconds_bucket{le="60.0",project="p"} 1.0' in text
    assert "crewstream_ready 1.0" in text


def test_labels_that_are_not_the_catalogues_are_refused() -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics().count("crewstream_tokens_total", workflow="w")


def test_a_label_does_not_grow_without_end() -> None:
    metrics = Metrics()
    for n in range(2 * MAX_SERIES):
        metrics.count("crewstream_dead_letters_total", topic=f"t{n}")
    text = rendered(metrics)
    assert text.count("crewstream_dead_letters_total{") == MAX_SERIES + 1
    assert f'crewstream_dead_letters_total{{topic="other"}} {float(MAX_SERIES)}' in text


def test_two_meters_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.count("crewstream_dead_letters_total", topic="x")
    assert 'topic="x"' not in rendered(other)


def test_every_name_of_the_catalogue_is_described() -> None:
    for names, catalogue in (
        (meters.CounterName, meters.COUNTERS),
        (meters.HistogramName, meters.HISTOGRAMS),
        (meters.GaugeName, meters.GAUGES),
    ):
        assert set(get_args(names)) == set(catalogue)
