"""Numbers about the web server for Prometheus, on a private port that is off unless set.

With several server processes set PROMETHEUS_MULTIPROC_DIR before start: each writes its numbers there and one of them answers for all.
"""

import os
from functools import lru_cache

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from app.core.settings import Settings

log = structlog.get_logger()

REQUESTS = Histogram(
    "countinghouse_http_request_seconds",
    "Time to answer a request",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

VIOLATIONS = Counter("countinghouse_csp_violations", "What browsers reported that a page's content policy stopped", ["directive"])


@lru_cache(maxsize=4096)
def _series(method: str, route: str, status: int) -> Histogram:
    return REQUESTS.labels(method, route, str(status))


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered."""
    _series(method, route, status).observe(seconds)


def _registry() -> CollectorRegistry:
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def serve(settings: Settings) -> bool:
    """Answer Prometheus on the private port; of several server processes the first one does. Gives whether this one did."""
    if not settings.metrics_port:
        return False
    try:
        start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=_registry())
    except OSError as error:
        log.info("metrics_port_taken", host=settings.metrics_host, port=settings.metrics_port, error=str(error))
        return False
    return True
