"""gunicorn's own configuration in the tests: its log tells when a worker is ready."""

from __future__ import annotations

from typing import Any

control_socket_disable = True  # of newer releases: one path for all servers of a user


def post_worker_init(worker: Any) -> None:
    """Called in the worker, once the application is loaded."""
    worker.log.info("worker ready: %d", worker.pid)
