"""Workers of gunicorn that are forked from a process which uses the application already."""

from __future__ import annotations

import pytest
from gunicorn_server import GunicornServer, WorkerClass


@pytest.mark.parametrize("worker_class", ["sync", pytest.param("gthread", marks=pytest.mark.soak)])
def test_workers_do_not_wait_for_a_thread_of_the_process_that_they_were_forked_from(
    worker_class: WorkerClass,
) -> None:
    with GunicornServer(
        worker_class=worker_class,
        app="preloaded_app:create()",
        workers=2,
        options=["--preload", "--timeout", "10"],
    ) as server:
        for worker in server.workers():
            with server.only(worker):
                assert server.browser().get("/start").status == 200
                assert server.browser().get("/health/session").json["healthy"]
        assert "WORKER TIMEOUT" not in server.log()
