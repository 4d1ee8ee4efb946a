"""Numbers about a running server, in the form that Prometheus reads."""

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from parckit.runtimes import Session

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of times: from a tiny network on a large machine to a full queue of large pictures on a board."""
_IMAGES = (1, 2, 4, 8, 16, 32, 64)
"""Upper edges of batches."""


@final
class Meters:
    """Counts what a server does.

    Args:
        session: the network; its names are shown.
    """

    def __init__(self, session: Session) -> None:
        self._registry = CollectorRegistry()
        # The memory and the time of the process; only Linux tells them.
        ProcessCollector(registry=self._registry)
        network = Gauge("parckit_network", "The network; always 1.", ("artefact", "engine"), registry=self._registry)
        network.labels(session.artefact, session.engine).set(1)
        self._responses = Counter(
            "parckit_responses", "Answers of /predict by their status.", ("status",), registry=self._registry
        )
        self._seconds = Histogram(
            "parckit_response_seconds",
            "Time from a request's header to its answer, for pictures that were answered.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "parckit_stage_seconds",
            "Time of a picture in decoding and preprocessing (prepare), of a batch in the network (run), and of an "
            "answer in decoding and encoding (answer).",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Histogram(
            "parckit_batch_images", "Pictures of an inference.", buckets=_IMAGES, registry=self._registry
        )
        self.accepted = Gauge(
            "parckit_accepted", "Requests that are accepted and not yet answered.", registry=self._registry
        )
        self.uploads = Gauge("parckit_uploads", "Requests whose bytes are arriving.", registry=self._registry)

    def count_response(self, status: int, seconds: float) -> None:
        """Count an answer of /predict."""
        self._responses.labels(str(status)).inc()
        if status == 200:  # refusals take no time, and would hide how long answers take
            self._seconds.observe(seconds)

    def count_batch(self, images: int, seconds: float) -> None:
        """Count an inference."""
        self._images.observe(images)
        self._stages.labels("run").observe(seconds)

    @contextmanager
    def stage(self, name: Literal["prepare", "answer"]) -> Generator[None]:
        """Take the time of the body."""
        start = perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(perf_counter() - start)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
