"""Read a process's metrics as Prometheus does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import requests
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping

# The key is name and labels, as in `name{a="b"}`.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def port_of(log: str) -> int | None:
    """Return the port of a worker's metrics from its log; None if the log does not name it yet."""
    for line in log.splitlines():
        if '"metrics_served"' in line:
            return int(json.loads(line)["port"])
    return None


class Scrape:
    """One reading of /metrics.

    Attributes:
        names: the names of all series that the process can have, with or without a value.
        labels: the names of labels, by series.
    """

    def __init__(self, port: int) -> None:
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
        answer.raise_for_status()
        self.samples: Samples = {}
        self.names: set[str] = set()
        self.labels: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(answer.text):
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            self.names |= {family.name + end for end in endings.get(family.type, ("",))}
            for sample in family.samples:
                self.samples[sample.name, frozenset(sample.labels.items())] = sample.value
                self.labels.setdefault(sample.name, set()).update(sample.labels)

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """Return the value of one sample; None if it does not exist."""
        return self.samples.get((name, frozenset((labels or {}).items())))
