"""What a real browser does with our cookies and those of a sibling host."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import chromium
import pytest
from chromium import Chromium
from requirements_of_tests import require
from wsgi_client import call, environ_of

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.cookies import CookiePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.stack import Stack

SECRET = "s" * 40
OURS, SIBLING = "app.example.test", "evil.example.test"


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    address_family = 2  # IPv4, as the name lookup below


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Site:
    """One application for all hosts: ours by its session, the sibling's by what it is told to set.

    A page's path says what to do; the query of ``/set`` is the Set-Cookie header to send.
    """

    def __init__(self, **policy: Any) -> None:
        self.seen: list[str] = []
        self.events: list[str] = []
        self.deploy(**policy)

    def deploy(self, **policy: Any) -> None:
        """Serve the same sessions by another cookie policy."""
        manager = getattr(self, "stack", None) and self.stack.manager
        config = Config(
            url="memory://",
            secret_keys=(SECRET,),
            sweep_interval=None,
            cookie=CookiePolicy(**policy),
        )
        self.stack: Stack = build(self._page, config, on_event=lambda e: self.events.append(e.name))
        if manager is not None:
            self.stack.sessions.manager = manager

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if not environ["PATH_INFO"].endswith("favicon.ico"):
            self.seen.append(environ.get("HTTP_COOKIE", ""))
        if environ["PATH_INFO"] == "/set":
            cookie = unquote(environ["QUERY_STRING"])
            start_response("200 OK", [("Content-Type", "text/html"), ("Set-Cookie", cookie)])
            return [b"set"]
        return self.stack(environ, start_response)

    def _page(self, environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        name = environ["PATH_INFO"].rpartition("/")[2]
        if name == "login":
            session.login(environ["QUERY_STRING"])
        elif name == "logout":
            session.flush()
        elif name == "favicon.ico":
            start_response("404 Not Found", [])
            return [b""]
        start_response("200 OK", [("Content-Type", "text/html"), ("Cache-Control", "no-store")])
        return [f"<title>{session.principal}</title>".encode()]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(chromium.available())
    path = tmp_path_factory.mktemp("tls") / "pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=example.test", "-keyout", str(path), "-out", f"{path}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    return path


@contextmanager
def serving(site: Site, certificate: Path) -> Iterator[int]:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    server = make_server("127.0.0.1", 0, site, Server, Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.base_environ["HTTPS"] = "on"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Visitor:
    """A browser that goes from host to host."""

    def __init__(self, browser: Chromium, port: int) -> None:
        self.browser = browser
        self.port = port

    def open(self, host: str, path: str) -> str:
        """The title of a page."""
        self.browser.open(f"https://{host}:{self.port}{path}")
        title: str = self.browser.evaluate("document.title")
        return title


@contextmanager
def visiting(site: Site, certificate: Path, folder: Path) -> Iterator[Visitor]:
    hosts = "--host-resolver-rules=MAP *.example.test 127.0.0.1"
    with (
        serving(site, certificate) as port,
        Chromium(folder, hosts, "--ignore-certificate-errors") as browser,
    ):
        yield Visitor(browser, port)


def attackers_cookie(site: Site, name: str) -> str:
    """The cookie of a session that is logged in as somebody else, as its owner may copy it."""
    more = {"QUERY_STRING": "mallory", "wsgi.url_scheme": "https"}
    answer = call(site.stack, environ_of("/login", **more))
    return (answer.header("Set-Cookie") or "").partition(";")[0].removeprefix(f"{name}=")


def test_a_host_only_name_keeps_a_sibling_host_from_naming_the_session(
    certificate: Path, tmp_path: Path
) -> None:
    name = "__Host-session"
    site = Site(name=name)
    evil = attackers_cookie(site, name)
    with visiting(site, certificate, tmp_path) as visitor:
        attempts = (
            f"{name}={evil}; Domain=example.test; Path=/; Secure",
            f"theme=x,{name}={evil}; Domain=example.test; Path=/; Secure",
            f'quoted="x, {name}={evil}"; Domain=example.test; Path=/; Secure',
            f"={name}={evil}; Domain=example.test; Path=/; Secure",
            f"bare,{name}={evil}; Domain=example.test; Path=/; Secure",
        )
        for attempt in attempts:
            visitor.open(SIBLING, f"/set?{attempt.replace(' ', '%20')}")
        assert visitor.open(OURS, "/page") == "None"
        assert f"theme=x,{name}={evil}" in site.seen[-1], "the browser sent what was smuggled"
        assert visitor.open(OURS, "/login?alice") == "alice"
        assert visitor.open(OURS, "/page") == "alice"
        visitor.open(SIBLING, f"/set?{attempts[1].replace(' ', '%20')}")
        assert visitor.open(OURS, "/page") == "alice"
