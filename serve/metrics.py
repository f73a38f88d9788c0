"""What a server counts, for Prometheus: requests by status, seconds, bytes, pictures under way."""

from __future__ import annotations

import os
from typing import Any

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The counters of one process, and the text of all processes where PROMETHEUS_MULTIPROC_DIR
    names a folder that they share."""

    def __init__(self) -> None:
        import prometheus_client as client

        self._shared = MULTIPROCESS in os.environ
        self._registry = client.CollectorRegistry()
        kept: Any = {"registry": None if self._shared else self._registry}
        self.requests = client.Counter(
            "aei_requests", "Answers by route and status.", ("route", "status"), **kept
        )
        self.seconds = client.Histogram(
            "aei_request_seconds", "Seconds to an answer, by route.", ("route",),
            buckets=BUCKETS, **kept,
        )  # fmt: skip
        self.sent = client.Counter(
            "aei_sent_bytes", "Bytes of answers, by type.", ("type",), **kept
        )
        self.gone = client.Counter(
            "aei_cancelled",
            "Requests whose client went away, or that took too long.",
            ("why",),
            **kept,
        )
        live: Any = {**kept, "multiprocess_mode": "livesum"}
        self.working = client.Gauge("aei_pictures_in_work", "Pictures being worked on.", **live)
        self.waiting = client.Gauge("aei_requests_waiting", "Requests that wait.", **live)

    def text(self) -> tuple[bytes, str]:
        """What Prometheus reads, and its media type."""
        import prometheus_client as client

        registry = self._registry
        if self._shared:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = client.CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return client.generate_latest(registry), client.CONTENT_TYPE_LATEST
