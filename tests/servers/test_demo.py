"""The demonstration, as a user starts it, and its page, as a browser sees it."""

from __future__ import annotations

import html
import json
import os
import re
import signal
from collections import defaultdict
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import chromium
import pytest
import redis
from chromium import Chromium
from demo_server import COOKIE, DemoReply, DemoServer, DemoVisitor, race
from documents import ROOT
from gunicorn_server import standing_still
from redis_servers import RedisServer, free_port, wait_until
from redis_servers import available as redis_available
from requirements_of_tests import require
from wsgi_client import Browser

from wsgi_sessions.demo.cards.devices import OTHER
from wsgi_sessions.demo.losses import LOSSES, SENT
from wsgi_sessions.demo.race import STEPS
from wsgi_sessions.listening import Address, listen, listen_near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_LOAD = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
HOSTILE = """<script>alert('x')</script>"&{0}"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with DemoServer(tmp_path_factory.mktemp("demo")) as server:
        server.wait_for_workers()
        yield server


@pytest.fixture
def visitor(demo: DemoServer) -> DemoVisitor:
    return demo.visitor()


def value(page: str, key: str) -> str | None:
    """What the page's table shows under a key."""
    found = re.search(rf'<th scope="row">{key}</th><td><code>(.*?)</code>', page, re.DOTALL)
    return found and found[1]


def user(page: str) -> str:
    found = re.search(r"<dt>User</dt><dd>(.*?)</dd>", page)
    assert found
    return found[1]


# -- the page --------------------------------------------------------------------------------------


def test_prints_one_line_that_says_where_it_is_and_how_it_ends(demo: DemoServer) -> None:
    demo.visitor().post("/count")
    first, *others = demo.output().splitlines()
    assert demo.url in first
    assert "Ctrl+C stops it" in first
    assert "insecure" not in " ".join(others)  # plain http is no news here


def test_the_page_and_all_that_it_names_are_served(visitor: DemoVisitor) -> None:
    page = visitor.get()
    assert page.status == 200
    assert page.headers["Cache-Control"] == "no-store"
    names = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert {"/static/style.css", "/static/script.js", "/static/icon.svg"} < set(names)
    for name in names:
        reply = visitor.get(name)
        assert reply.status == 200, name
        assert reply.text
    assert visitor.get("/static/script.js").headers["Content-Type"].startswith("text/javascript")
    assert visitor.get("/static/style.css").headers["Content-Type"].startswith("text/css")


def test_static_files_are_asked_for_once(visitor: DemoVisitor) -> None:
    etag = visitor.get("/static/style.css").headers["ETag"]
    assert visitor.get("/static/style.css", **{"If-None-Match": etag}).status == 304


@pytest.mark.parametrize("name", ["page.html", "../app.py", "%2e%2e%2fapp.py", "", "nothing"])
def test_nothing_else_of_the_folder_is_served(visitor: DemoVisitor, name: str) -> None:
    assert visitor.get(f"/static/{name}").status == 404


def test_every_answer_forbids_foreign_and_inline_code(visitor: DemoVisitor) -> None:
    for path in ("/", "/static/script.js", "/nothing"):
        policy = visitor.get(path).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
    page = visitor.get().text
    assert not re.search(r"<style|<script(?! src=)|\son\w+=|\sstyle=|https?://", page)


def test_looking_at_the_page_stores_no_session(visitor: DemoVisitor) -> None:
    for _ in range(2):
        page = visitor.get()
        assert COOKIE not in visitor.cookies
        assert "it is still empty" in page.text


def test_which_workers_answered_is_shown(demo: DemoServer, visitor: DemoVisitor) -> None:
    pids = set(map(str, demo.workers()))
    for _ in range(3):
        page = visitor.get().text
    shown = re.findall(r'class="worker[^"]*">(\d+)<', page)
    assert len(shown) == 3
    assert set(shown) <= pids


def test_a_forged_list_of_workers_is_harmless(visitor: DemoVisitor) -> None:
    visitor.cookies["answers"] = "<b>.-1.99999999999999999999.²"
    page = visitor.get().text
    assert len(re.findall(r'class="worker', page)) == 1


# -- the forms, without JavaScript -----------------------------------------------------------------


def test_log_in_and_out(visitor: DemoVisitor) -> None:
    visitor.post("/count")
    anonymous = visitor.cookies[COOKIE]

    reply = visitor.post("/login", name="Ada Lovelace")
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    page = visitor.get().text
    assert user(page) == "Ada Lovelace"
    assert value(page, "count") == "1", "the anonymous session's data goes on"
    assert value(page, "login_at")
    assert visitor.cookies[COOKIE] != anonymous, "a log-in gives a new id"

    logged_in = visitor.twin()
    assert visitor.post("/logout").status == 303
    assert COOKIE not in visitor.cookies
    for stale in (visitor, logged_in):
        page = stale.get().text
        assert user(page) == "nobody"
        assert value(page, "count") is None


def test_notes_are_there_whichever_worker_answers(demo: DemoServer, visitor: DemoVisitor) -> None:
    for note in ("milk", "eggs"):
        assert visitor.post("/notes", note=note).status == 303
    workers = demo.workers()
    for worker in workers:
        with standing_still(pid for pid in workers if pid != worker):
            page = visitor.get().text
        assert value(page, "notes") == "[&#39;milk&#39;, &#39;eggs&#39;]"
        assert visitor.cookies["answers"].partition(".")[0] == str(worker)


def test_a_browser_is_logged_in_by_itself_until_it_logs_out(visitor: DemoVisitor) -> None:
    reply = visitor.get("/", **PAGE_LOAD)
    assert (reply.status, reply.headers["Location"]) == (303, "/?welcome")
    page = visitor.get("/?welcome", **PAGE_LOAD)
    assert re.fullmatch(r"Guest [0-9a-f]{4}", user(page.text))
    assert visitor.get("/", **PAGE_LOAD).status == 200
    visitor.post("/logout")
    assert user(visitor.get("/", **PAGE_LOAD).text) == "nobody"
    visitor.post("/login", name="Ada")
    assert user(visitor.get("/", **PAGE_LOAD).text) == "Ada"


def test_without_cookies_there_is_a_form_and_no_loop(demo: DemoServer) -> None:
    assert 'action="/login"' in demo.visitor().get("/?welcome", **PAGE_LOAD).text


def test_the_eight_lines_run(
    visitor: DemoVisitor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = re.search(r"<pre><code>(.*?)</code></pre>", visitor.get().text, re.DOTALL)
    assert code
    lines = html.unescape(code[1])
    assert sum(bool(line.strip()) for line in lines.splitlines()) == 8
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    names: dict[str, Any] = {"__name__": "eight_lines"}
    exec(lines, names)
    browser = Browser(names["application"])
    assert [browser.get("/").body for _ in range(2)] == [b"visit 1\n", b"visit 2\n"]
    names["application"].close()


def test_the_losses_of_others_are_those_measured(visitor: DemoVisitor) -> None:
    page = html.unescape(visitor.get().text)
    kept = json.loads((ROOT / "benchmarks" / "results.json").read_text())["lost"]["contestants"]
    lost: dict[str, list[int]] = defaultdict(list)
    for contestant, measured in kept.items():
        library = "Flask's cookie" if contestant == "Flask, cookie" else contestant.split(",")[0]
        for change in ("/key", "/append", "/increment"):
            assert measured[change]["sent"] == SENT
            lost[library].append(measured[change]["lost"])
    assert lost.pop("wsgi_sessions") == [0] * 12
    assert {loss.library: (loss.least, loss.most) for loss in LOSSES} == {
        library: (min(found), max(found)) for library, found in lost.items()
    }
    assert all(f"<span>{loss.library}</span><strong>{loss}</strong>" in page for loss in LOSSES)


# -- devices ---------------------------------------------------------------------------------------


def devices(visitor: DemoVisitor) -> list[str]:
    return re.findall(r"<li><div><strong>(.*?)</strong>", visitor.get().text)


def test_devices_are_listed_and_logged_out(demo: DemoServer) -> None:
    visitor, other = demo.visitor(), demo.visitor()
    for each in (visitor, other):
        each.post("/login", name="Grace Hopper")
    assert visitor.post("/devices/add").headers["Location"] == "/#devices"
    assert devices(visitor) == ["Unknown device", "Unknown device", OTHER]
    page = visitor.get().text
    assert page.count("this one") == 1
    first, _ = re.findall(r'name="device" value="(\w+)"', page)
    stranger = demo.visitor()
    stranger.post("/login", name="Somebody else")
    stranger.post("/devices/end", device=first)
    assert len(devices(visitor)) == 3, "only a user ends its own"
    visitor.post("/devices/end", device=first)
    assert user(other.get().text) == "nobody"
    assert devices(visitor) == ["Unknown device", OTHER]
    visitor.post("/devices/end-others")
    assert devices(visitor) == ["Unknown device"]


# -- faults ----------------------------------------------------------------------------------------


def pulse(visitor: DemoVisitor) -> DemoReply:
    return visitor.post("/pulse")


def test_a_killed_worker_takes_nothing_along(demo: DemoServer, visitor: DemoVisitor) -> None:
    visitor.post("/login", name="Ada")
    before = pulse(visitor).json
    number, pid = before["number"], before["worker"]
    assert visitor.post("/kill", pid=str(pid)).status == 303
    wait_until(lambda: pid not in demo.workers() and len(demo.workers()) == 3, "a successor", 20)
    found: dict[int, int] = {}
    for sent in range(1, 200):
        answer = pulse(visitor).json
        assert answer["pulses"] == before["pulses"] + sent
        found[answer["number"]] = answer["worker"]
        if len(found) == 3:
            break
    assert found.keys() == {1, 2, 3}
    assert found[number] != pid, "the successor has its number"


@pytest.mark.parametrize("pid", ["1", "0", "-1", "x", ""])
def test_no_other_process_is_killed(visitor: DemoVisitor, pid: str) -> None:
    visitor.post("/login", name="Ada")
    assert visitor.post("/kill", pid=pid).status in (400, 409)


def test_a_stopped_store_is_a_503_and_nothing_is_lost(
    demo: DemoServer, visitor: DemoVisitor
) -> None:
    visitor.post("/login", name="Ada")
    visitor.post("/notes", note="milk")
    counted = pulse(visitor).json["pulses"]
    assert visitor.post("/store/stop").status == 303
    replies: list[DemoReply] = []

    def is_back() -> bool:
        replies.append(pulse(visitor))
        return replies[-1].status == 200 and any(reply.status == 503 for reply in replies)

    wait_until(is_back, "the store", 20)
    assert {reply.status for reply in replies} == {200, 503}
    for reply in replies:
        assert reply.status == 200 or reply.headers["Retry-After"]
        assert reply.headers["Set-Cookie"] is None
    good = [reply for reply in replies if reply.status == 200]
    assert good[-1].json["pulses"] == counted + len(good)
    page = demo.visitor()
    page.cookies.update(visitor.cookies)
    assert value(page.get().text, "notes") == "[&#39;milk&#39;]"


@pytest.mark.parametrize("path", ["/kill", "/store/stop", "/pulse", "/devices/end"])
def test_strangers_break_nothing(visitor: DemoVisitor, path: str) -> None:
    assert visitor.post(path, pid="1", device="x" * 10).status == 403


@pytest.mark.soak
def test_both_faults_in_a_browser(demo: DemoServer, tmp_path: Path) -> None:
    require(chromium.available())
    with Chromium(tmp_path) as browser:
        browser.open(demo.url)
        for form, words in (("kill", "is dead"), ("stop", "503 with Retry-After")):
            report = browser.evaluate(
                f"""new Promise((resolve) => {{
                     const form = document.getElementById("{form}-form");
                     const text = () => document.getElementById("report").textContent;
                     const look = () => /lost|add up|failed/.test(text())
                       ? resolve(text()) : setTimeout(look, 50);
                     form.querySelector("button").click();
                     setTimeout(look, 1000);
                   }})"""
            )
            assert words in report
            assert report.endswith("nothing lost.")
            browser.evaluate("document.getElementById('report').textContent = ''")


def test_the_counter_counts(visitor: DemoVisitor) -> None:
    for _ in range(3):
        assert visitor.post("/count").status == 303
    page = visitor.get().text
    assert value(page, "count") == "3"
    assert "Counter: <strong>3</strong>" in page
    assert re.search(r"Expires</dt><dd>\d\d:\d\d:\d\d UTC, in (59|60) minutes", page)


def test_without_javascript_the_race_is_explained(visitor: DemoVisitor) -> None:
    page = visitor.get().text
    assert re.search(r'<form id="race-form" action="/race"', page)
    assert "The race needs JavaScript" not in page
    assert "The race needs JavaScript" in visitor.get("/race").text


def test_a_visitor_s_input_is_text(visitor: DemoVisitor) -> None:
    visitor.post("/login", name=HOSTILE)
    visitor.post("/notes", note=HOSTILE)
    page = visitor.get().text
    assert "<script>alert" not in page
    assert user(page) == "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;{0}"
    assert "&lt;script&gt;" in str(value(page, "notes"))


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/login", {}, 400),
        ("/login", {"name": "  "}, 400),
        ("/notes", {"note": "x" * 20_000}, 413),
        ("/nothing", {}, 404),
        ("/", {}, 405),
        ("/race/shared/1", {}, 409),
        ("/race/naive/1", {}, 409),
        ("/race/shared/0", {}, 404),
        (f"/race/shared/{STEPS + 1}", {}, 404),
        ("/race/other/1", {}, 404),
    ],
)
def test_a_wrong_request_is_refused_and_stores_nothing(
    visitor: DemoVisitor, path: str, form: dict[str, str], status: int
) -> None:
    assert visitor.post(path, **form).status == status
    assert COOKIE not in visitor.cookies


@pytest.mark.parametrize("path", ["/login", "/logout", "/notes", "/count", "/race/start"])
def test_nothing_changes_by_get(visitor: DemoVisitor, path: str) -> None:
    assert visitor.get(path).status == 405


# -- the race --------------------------------------------------------------------------------------


def assert_races(server: DemoServer) -> None:
    """Races, until several workers have taken part (a worker may start late, or be quicker)."""
    workers: set[int] = set()
    for _ in range(20):
        workers |= assert_race(server.visitor())
        if len(workers) > 1:
            return
    pytest.fail("one worker answered all requests of 20 races")


def assert_race(visitor: DemoVisitor) -> set[int]:
    """This package keeps all of it, and the naive session does not, as the page says."""
    assert visitor.post("/race/start").status == 200
    workers = race(visitor, "shared") | race(visitor, "naive")
    assert "not run yet" in visitor.get().text
    assert visitor.post("/race/finish").status == 200

    page = visitor.get().text
    scores = re.findall(r"<strong>(\d+)</strong> of 20 kept, (\d+) lost", page)
    counts = re.findall(r"keys (\d+), list items (\d+), counter (\d+)", page)
    assert scores[0] == ("20", "0")
    assert counts[0] == ("20", "20", "20")
    kept, lost = map(int, scores[1])
    assert kept < STEPS
    assert kept + lost == STEPS
    assert page.count('class="dot kept w') == STEPS + kept
    assert page.count('class="dot lost"') == lost
    return workers


def test_race_with_threads(demo: DemoServer) -> None:
    for _ in range(3):
        assert_races(demo)


@pytest.mark.soak
@pytest.mark.parametrize("worker_class", ["sync", "gevent"])
def test_race_with_other_workers(tmp_path: Path, worker_class: str) -> None:
    if worker_class == "gevent":
        require(None if find_spec("gevent") else "gevent is not installed")
    with DemoServer(tmp_path, "--worker-class", worker_class) as server:
        assert_races(server)


@pytest.mark.soak
def test_race_on_redis(tmp_path: Path) -> None:
    require(redis_available())
    with RedisServer() as store, DemoServer(tmp_path, "--store", store.url) as server:
        assert_races(server)
        with redis.Redis.from_url(store.url) as client:
            keys = list(client.scan_iter())
        assert keys
        assert all(key.startswith(b"demo-session:") for key in keys)


def test_a_race_in_a_browser(demo: DemoServer, tmp_path: Path) -> None:
    require(chromium.available())
    with Chromium(tmp_path) as browser:
        browser.open(demo.url)
        browser.evaluate("document.querySelector('#race-form button').click()")
        browser.evaluate(
            """new Promise((resolve) => {
                 const done = () => document.querySelector(".lost");
                 const look = () => done() ? resolve() : setTimeout(look, 20);
                 look();
               })"""
        )
        kept = browser.evaluate("document.querySelectorAll('#lane-shared .dot.kept').length")
        lost = browser.evaluate("document.querySelectorAll('#lane-naive .dot.lost').length")
        verdict = browser.evaluate("document.getElementById('verdict').textContent")
        assert kept == STEPS
        assert 0 < lost < STEPS
        assert verdict == (
            f"wsgi-sessions kept the work of 20 of 20 requests, "
            f"the naive session that of {STEPS - lost}."
        )
        assert browser.evaluate(
            "document.querySelector('#session').textContent.includes('race_count')"
        )
        assert browser.complaints == []

        # And it would have complained: the policy is in force.
        browser.evaluate("document.body.setAttribute('style', 'color: red')")
        assert "Content Security Policy" in " ".join(browser.complaints)


def test_the_page_fits_a_phone(demo: DemoServer, tmp_path: Path) -> None:
    require(chromium.available())
    with Chromium(tmp_path) as browser:
        browser.open(demo.url)
        for path, field in (("/login", "name"), ("/notes", "note")):
            form = f"new URLSearchParams({{{field}: 'W'.repeat(40)}})"
            browser.evaluate(f"fetch('{path}', {{method: 'POST', body: {form}}}).then(() => 0)")
        browser.resize(360, 740)
        browser.open(demo.url)
        assert browser.evaluate("document.querySelectorAll('tbody th').length") > 1
        assert browser.evaluate("innerWidth") == 360
        assert browser.evaluate("document.documentElement.scrollWidth") == 360
        verdict = "document.getElementById('verdict').getBoundingClientRect().bottom"
        assert browser.evaluate(verdict) < 740, "it is seen without scrolling"
        overflowing = browser.evaluate(
            "[...document.querySelectorAll('.card *')].filter((element) => "
            "!element.closest('pre') && element.getBoundingClientRect().right > "
            "element.closest('.card').getBoundingClientRect().right).length"
        )
        assert overflowing == 0


# -- health ----------------------------------------------------------------------------------------


def test_health(demo: DemoServer) -> None:
    reply = demo.visitor().get("/health/session")
    assert reply.status == 200
    assert (reply.json["backend"], reply.json["healthy"]) == ("file", True)
    assert reply.json["details"]["latency_ms"]
    assert reply.headers["Cache-Control"] == "no-store"


def test_health_when_the_store_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "a store"
    url = f"file://{quote(str(folder))}"
    # One worker, which has started once it answers: one that starts later makes the folder anew.
    with DemoServer(tmp_path, "--store", url, "--workers", "1") as server:
        visitor = server.visitor()
        visitor.post("/count")
        folder.rename(tmp_path / "elsewhere")  # at once, whatever the sweeper is at
        reply = visitor.get("/health/session")
        assert reply.status == 503
        assert reply.json["healthy"] is False
        assert reply.json["details"]["error"]
        assert visitor.get().status == 503
        assert visitor.get("/static/style.css").status == 200


# -- start and end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.soak)],
)
def test_a_signal_ends_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    with DemoServer(tmp_path) as server:
        server.visitor().post("/count")
        server.wait_for_workers()
        workers = server.workers()
        assert os.listdir(server.temporary)
        assert server.stop(number) == 0
        assert os.listdir(server.temporary) == []
        assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
        assert "Traceback" not in server.output()


def test_the_end_of_a_worker_is_not_the_end_of_the_sessions(tmp_path: Path) -> None:
    with DemoServer(tmp_path) as server:
        visitor = server.visitor()
        visitor.post("/count")
        server.wait_for_workers()
        before = set(server.workers())

        def are_replaced() -> bool:
            now = set(server.workers())
            for pid in before & now:  # again: one that was just forked may not have heard it
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            return len(now) == 3 and not before & now

        wait_until(are_replaced, "three new workers", 20)
        assert value(visitor.get().text, "count") == "1"


def test_a_busy_port_is_passed_over() -> None:
    wanted = Address("127.0.0.1", free_port(offsets=range(3)))
    with listen(wanted), listen_near(wanted) as listener:
        assert wanted.port < listener.getsockname()[1] < wanted.port + 20
