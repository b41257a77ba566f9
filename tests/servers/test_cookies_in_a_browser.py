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
from redis_servers import wait_until
from requirements_of_tests import require
from wsgi_client import call, environ_of

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.stack.build import Stack

SECRET = "s" * 40
OURS, SIBLING, BANK = "app.example.test", "evil.example.test", "bank.another.test"


class PageServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    address_family = 2  # IPv4, as the name lookup below


class SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class BrowserSite:
    """One application for all hosts: ours by its session, the sibling's by what it is told to set.

    A page's path says what to do; the query of ``/set`` is the Set-Cookie header to send.
    """

    def __init__(self, **policy: Any) -> None:
        self.seen: list[str] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.events: list[str] = []
        self.deploy(**policy)

    def deploy(self, **policy: Any) -> None:
        """Serve the same sessions by another cookie policy."""
        manager = getattr(self, "stack", None) and self.stack.sessions.manager
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
        if environ["PATH_INFO"] == "/bank":
            start_response("200 OK", [("Content-Type", "text/html")])
            target = f"https://{OURS}:{environ['SERVER_PORT']}/{environ['QUERY_STRING']}"
            return [f"<form method=post action='{target}'></form>".encode()]
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
        elif name == "slow":
            if unquote(environ["QUERY_STRING"]) == "reads first":
                assert session.principal is None
            self.has_begun.set()
            assert self.may_end.wait(30)
            session["late"] = True
        elif name == "begin":
            session["n"] = 1
        elif name == "back":
            session["paid"] = True
            start_response("303 See Other", [("Location", "/page")])
            return [b""]
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
def serving(site: WSGIApplication, certificate: Path) -> Iterator[int]:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    server = make_server("127.0.0.1", 0, site, PageServer, SilentHandler)
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


class BrowserVisitor:
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
def visiting(site: WSGIApplication, certificate: Path, folder: Path) -> Iterator[BrowserVisitor]:
    hosts = "--host-resolver-rules=MAP *.test 127.0.0.1"
    with (
        serving(site, certificate) as port,
        Chromium(folder, hosts, "--ignore-certificate-errors") as browser,
    ):
        yield BrowserVisitor(browser, port)


def attackers_cookie(site: BrowserSite, name: str) -> str:
    """The cookie of a session that is logged in as somebody else, as its owner may copy it."""
    more = {"QUERY_STRING": "mallory", "wsgi.url_scheme": "https"}
    answer = call(site.stack, environ_of("/login", **more))
    return (answer.header("Set-Cookie") or "").partition(";")[0].removeprefix(f"{name}=")


def test_a_host_only_name_keeps_a_sibling_host_from_naming_the_session(
    certificate: Path, tmp_path: Path
) -> None:
    name = "__Host-session"
    site = BrowserSite(name=name)
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


DEPLOYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "domain": ({}, {"domain": "example.test"}),
    "host": ({}, {"domain": OURS}),
    "no-domain": ({"domain": "example.test"}, {}),
    "path": ({}, {"path": "/app"}),
    "shorter-path": ({"path": "/app"}, {}),
    "slash": ({"path": "/app"}, {"path": "/app/"}),
    "partitioned": ({}, {"partitioned": True}),
    "not-partitioned": ({"partitioned": True}, {}),
}


def test_a_login_after_a_deploy_that_changes_the_cookie_counts_at_the_next_request(
    certificate: Path, tmp_path: Path
) -> None:
    site = BrowserSite()
    with visiting(site, certificate, tmp_path) as visitor:
        for name, (before, after) in DEPLOYS.items():
            policy = {"name": name, "secure": "always"}
            site.deploy(**policy, **before)
            visitor.open(OURS, "/app/login?bob")
            site.deploy(**policy, **after)
            assert visitor.open(OURS, "/app/page") == "bob", name
            visitor.open(OURS, "/app/login?alice")
            assert visitor.open(OURS, "/app/page") == "alice", name
            is_above = len(after.get("path", "/")) > len(before.get("path", "/"))
            assert site.seen[-1].count(f"{name}=") == 2 - is_above, "the browser holds both"
            assert visitor.open(OURS, "/app/page") == "alice", name
            assert site.seen[-1].count(f"{name}=") == 1, "and has been told to drop the dead one"
            visitor.open(OURS, "/app/logout")
            assert visitor.open(OURS, "/app/page") == "None", name


@pytest.mark.parametrize("is_shared", [True, False], ids=["one store", "a store each"])
def test_two_applications_at_two_paths_of_one_host_have_a_login_each(
    certificate: Path, tmp_path: Path, *, is_shared: bool
) -> None:
    root, admin = BrowserSite(secure="always"), BrowserSite(secure="always", path="/admin")
    if is_shared:
        admin.stack.sessions.manager = root.stack.sessions.manager

    def both(environ: Any, start_response: Any) -> Any:
        app = admin if environ["PATH_INFO"].startswith("/admin/") else root
        return app(environ, start_response)

    with visiting(both, certificate, tmp_path) as visitor:
        visitor.open(OURS, "/admin/login?alice")
        visitor.open(OURS, "/login?bob")
        for _ in range(2):
            assert visitor.open(OURS, "/admin/page") == "alice"
            assert admin.seen[-1].count("session=") == 2
            assert visitor.open(OURS, "/page") == "bob"
        visitor.open(OURS, "/admin/login?carol")
        assert visitor.open(OURS, "/admin/page") == "carol"
        assert visitor.open(OURS, "/page") == "bob"
        visitor.open(OURS, "/admin/logout")
        assert visitor.open(OURS, "/page") == "bob"


@pytest.mark.parametrize("way", ["reads first", "reads last"])
def test_a_request_of_another_tab_that_answers_last_does_not_undo_a_login(
    certificate: Path, tmp_path: Path, way: str
) -> None:
    site = BrowserSite()
    with visiting(site, certificate, tmp_path) as visitor:
        browser = visitor.browser
        first = browser.new_tab()
        visitor.open(OURS, "/begin")
        browser.evaluate(f"window.answer = fetch('/slow?{way}').then(r => r.text()); 0")
        assert site.has_begun.wait(30)
        browser.new_tab()
        assert visitor.open(OURS, "/login?alice") == "alice"
        browser.use_tab(first)
        site.may_end.set()
        assert "title" in browser.evaluate("window.answer")
        assert visitor.open(OURS, "/page") == "alice"
        assert site.seen[-1].count("session=") == 1
        assert "superseded" in site.events
        assert site.events.count("created") == 1


KEYS = "abcd"
START_PAGE = f"""<title>start</title><script>
window.done = Promise.all([...'{KEYS}'].map(key => fetch('/put?' + key)));
</script>"""


@pytest.mark.parametrize("early", [True, False])
def test_an_early_cookie_lets_the_scripts_of_a_first_page_share_a_session(
    certificate: Path, tmp_path: Path, early: bool
) -> None:
    all_at_once = threading.Barrier(len(KEYS))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        path, body = environ["PATH_INFO"], ""
        if path == "/put":
            session = get_session(environ)
            all_at_once.wait(30)
            session[environ["QUERY_STRING"]] = 1
        elif path == "/show":
            body = f"<title>{''.join(sorted(get_session(environ)))}</title>"
        elif path == "/start":
            body = START_PAGE
        start_response("200 OK", [("Content-Type", "text/html"), ("Cache-Control", "no-store")])
        return [body.encode()]

    events: list[str] = []
    config = Config("memory://", (SECRET,), sweep_interval=None, early_cookie=early)
    stack = build(app, config, on_event=lambda event: events.append(event.name))
    with visiting(stack, certificate, tmp_path) as visitor:
        visitor.open(OURS, "/start")
        visitor.browser.evaluate("window.done.then(() => 0)")
        kept = visitor.open(OURS, "/show")
    assert kept == KEYS if early else len(kept) == 1
    assert events.count("created") == (1 if early else len(KEYS))
    assert events.count("cookieless") == (0 if early else len(KEYS))


def test_a_bank_that_sends_the_user_back_does_not_log_the_user_out(
    certificate: Path, tmp_path: Path
) -> None:
    site = BrowserSite()
    with visiting(site, certificate, tmp_path) as visitor:
        assert visitor.open(OURS, "/login?alice") == "alice"
        visitor.open(BANK, "/bank?back")
        visitor.browser.evaluate("document.forms[0].submit()")
        wait_until(lambda: len(site.seen) == 4, "the form, and the page that it was redirected to")
        came, went_on = site.seen[2:]
        assert "session=" not in came, "the browser brings no cookie with the form"
        assert "session=" in went_on, "but with the redirect"
        assert "dropped" in site.events
        assert visitor.open(OURS, "/page") == "alice"
