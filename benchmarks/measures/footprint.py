"""What sessions weigh: memory per idle gunicorn worker, and bytes per stored session.

A worker's memory is its proportional set size (what it has alone, plus its share of what is
shared), after it has answered some requests, against the same worker without this package.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis_servers import RedisServer, available, free_port

from wsgi_sessions import open_backend
from wsgi_sessions.core.commit.loop import Committer, Lifetimes, Pending
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.merge.delta import Assign
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelopes import Envelopes

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend

SECRET = "benchmark-secret-benchmark-secret-benchmark"
WORKERS = 3
REQUESTS = 300
PROGRAM = """
import os
def shop(environ, start_response):
    session = environ.get("wsgi_sessions.session")
    if session is not None:
        session.increment("n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
bare = shop
if "WSGI_SESSIONS_URL" in os.environ:
    import wsgi_sessions
    wrapped = wsgi_sessions.from_env(shop)
"""


def worker_memory(url: str | None) -> float:
    """Proportional memory of one worker, in MiB; without this package if there is no URL."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("WSGI_SESSIONS")}
    if url is not None:
        environ |= {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
        environ["WSGI_SESSIONS_COOKIE_SECURE"] = "never"  # plain http on loopback, on purpose
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "program.py").write_text(PROGRAM)
        port = free_port()
        name = "program:bare" if url is None else "program:wrapped"
        command = [sys.executable, "-m", "gunicorn", name, "--workers", str(WORKERS)]
        command += ["--bind", f"127.0.0.1:{port}", "--log-level", "critical"]
        server = subprocess.Popen(command, cwd=folder, env=environ)
        try:
            _ask(port)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            return sum(map(_proportional_size, children)) / len(children)
        finally:
            server.terminate()
            server.wait()


def _ask(port: int) -> None:
    deadline = time.monotonic() + 20
    for _ in range(REQUESTS):
        while True:
            connection = HTTPConnection("127.0.0.1", port)
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
            finally:
                connection.close()


def _proportional_size(pid: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no proportional size")


def fill(backend: Backend, count: int) -> int:
    """Store sessions with some 150 bytes of data each; returns the bytes of one payload."""
    values: dict[str, Any] = {"user": "somebody", "cart": ["a", "b", "c"], "theme": "dark", "n": 7}
    values["seen"] = ["/products/1234", "/products/5678", "/cart", "/checkout"]
    delta = {key: Assign(encode(value)) for key, value in values.items()}
    committer = Committer(
        backend.sessions,
        Lifetimes(),
        Events(),
        on_conflict="last-wins",
        max_size=1 << 20,
        clock=time.time,
        announce=lambda *_: None,
        envelopes=Envelopes(),
    )
    key = ""
    for _ in range(count):
        pending = Pending({**delta}, {}, at=time.time(), route="POST /cart")
        key = committer.create(pending).key
    record = backend.sessions.load(key)
    assert record is not None
    return len(record.payload)


def bytes_per_session(count: int) -> dict[str, float]:
    """What a stored session takes, all told, in bytes."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=os.path.abspath(".")) as folder:
        backend = open_backend(f"file://{folder}/sessions")
        found["payload"] = fill(backend, count)
        files = Path(folder).glob("sessions/sessions/*/*")
        found["file: allocated on disk"] = sum(f.stat().st_blocks * 512 for f in files) / count
    if available() is None:
        with RedisServer() as server:
            client = redis.Redis.from_url(server.url)
            backend = open_backend(server.url)
            before = client.info("memory")["used_memory"]
            fill(backend, count)
            found["Redis: memory"] = (client.info("memory")["used_memory"] - before) / count
            backend.close()
            client.close()
    tracemalloc.start()
    backend = open_backend("memory://")
    fill(backend, count)
    found["memory store"] = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    bare = worker_memory(None)
    memory = {"bare WSGI": bare}
    with tempfile.TemporaryDirectory() as folder:
        memory["file store, added"] = worker_memory(f"file://{folder}/sessions") - bare
    if available() is None:
        with RedisServer() as server:
            memory["Redis store, added"] = worker_memory(server.url) - bare
    report = {"MiB per worker": memory, "bytes per session": bytes_per_session(options.sessions)}
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for title, rows in report.items():
        print(title)
        for name, value in rows.items():
            print(f"  {name:28}{value:10.1f}")


if __name__ == "__main__":
    main()
