"""The benchmarks work, draw legible pictures, and the documents hold what they found.

Nothing is timed here. Peers that only the extra [bench] installs are tried by
``python -m benchmarks.run --selftest``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from redis_servers import available
from requirements_of_tests import require

import wsgi_sessions
from benchmarks import RESULTS, run
from benchmarks.contestants.table import CONTESTANTS
from benchmarks.harness.places import Place, place
from benchmarks.measures import against, lost, syscalls, under_gunicorn
from benchmarks.report import capacity, capacity_text, documents, pictures
from benchmarks.report.simulation import Sweeping, Traffic, simulate
from benchmarks.report.svg import Axis, Bar, Line, Row, bars, decades, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis_servers import RedisServer

OURS = "wsgi_sessions, files"
PAGES = ("/null", "/read", "/write")
TRAFFIC = Traffic(arrivals=2.0, requests=5.0, pause=10.0, idle_lifetime=600.0)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A place without servers."""
    with place(str(tmp_path), servers=False) as own:
        yield own


@pytest.fixture
def results() -> dict[str, Any]:
    """What the last complete run found; nothing before there was one."""
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return found


# -- contestants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [OURS, "Django, files", "Flask-Session, cachelib"])
def test_a_contestant_on_files_keeps_its_session(name: str, here: Place) -> None:
    assert run.problem(name, here) is None


@pytest.mark.parametrize("name", ["wsgi_sessions, Redis", "Flask-Session, Redis"])
def test_a_contestant_on_redis_keeps_its_session(
    name: str, here: Place, end_to_end_redis: RedisServer
) -> None:
    require(available())
    assert run.problem(name, here._replace(redis=end_to_end_redis.url)) is None


def test_a_contestant_that_keeps_nothing_is_found_out(here: Place) -> None:
    assert run.problem("bare WSGI", here) is not None


def test_names_are_unique() -> None:
    assert len({one.name for one in CONTESTANTS}) == len(CONTESTANTS)


# -- measuring -------------------------------------------------------------------------------------


def test_a_server_is_loaded_and_every_reply_is_right(here: Place) -> None:
    report = under_gunicorn.run(here, "gthread", ["bare WSGI", OURS], 1, 0.02)
    rows = [row for found in report["contestants"].values() for row in found.values()]
    assert len(rows) == 1 + 5
    assert all(row["requests"] > 0 and row["failures"] == 0 for row in rows)
    assert under_gunicorn.as_lines(report)


def test_another_tree_takes_turns_with_this_one(here: Place, tmp_path: Path) -> None:
    """The other tree is a copy of this one, which the pages that it serves must come from."""
    tree = tmp_path / "before"
    shutil.copytree(Path(wsgi_sessions.__file__).parent, tree / "wsgi_sessions")
    assert [row["path"] for row in against.run(here, str(tree), 1, 0.001)] == list(PAGES)
    (tree / "wsgi_sessions" / "__init__.py").write_text("raise SystemExit(7)")
    with pytest.raises(RuntimeError, match="ended with 7"):
        against.run(here, str(tree), 1, 0.001)


def test_overlapping_changes_are_counted(here: Place) -> None:
    report = lost.run(here, 1, [OURS])
    row = report["contestants"][OURS]
    assert [row[path] for path in lost.OVERLAPS] == [{"sent": 8, "lost": 0}] * 3
    assert row["slow reader"]["undone"] == row["log-out"]["brought back"] == 0
    assert "0" in lost.as_lines(report)[1]


def test_counts_of_system_calls_are_read() -> None:
    report = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000400           2       200           openat
 30.00    0.000200           1       401         2 read
  0.00    0.000000           0         3           futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.000600                   604         2 total
"""
    assert syscalls.parse(report) == {"openat": 1.0, "read": 2.0}


# -- pictures --------------------------------------------------------------------------------------


def test_pictures_are_well_formed_and_legible_in_the_dark() -> None:
    rows = [Row("a & b < c", [Bar(3.0, "3 µs", 0), Bar(0.0, "0 µs", 1)])]
    drawn = bars("Title", "note", rows, ("read", "write"))
    curve = Line("files", [(1.0, 10.0), (1000.0, 12.0)], 0)
    axes = Axis("sessions", decades([1, 1000])), Axis("µs", decades([10, 12]))
    for picture in (drawn, lines("Title", "note", [curve], *axes)):
        root = ET.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in picture
    texts = [text.text for text in ET.fromstring(drawn).iter() if text.tag.endswith("text")]
    assert {"a & b < c", "3 µs", "0 µs", "read", "write"} <= set(texts)


def test_last_values_stand_in_their_order() -> None:
    """Also where they are nearly the same, so that one has to make room."""
    curves = [Line(name, [(1.0, end), (10.0, end)], 0) for name, end in (("a", 188), ("b", 151))]
    picture = lines("Title", "", curves, Axis("x", [1.0, 10.0]), Axis("y", [10.0, 1000.0]))
    texts = ET.fromstring(picture).iterfind(".//{*}text")
    found = {text.text: float(text.attrib["y"]) for text in texts}
    assert found["151"] - found["188"] >= 13


def test_every_kept_picture_is_drawn_from_the_kept_results(results: dict[str, Any]) -> None:
    drawn = pictures.draw_all(results)
    kept = {path.name: path.read_text("utf-8") for path in RESULTS.parent.glob("pictures/*.svg")}
    assert kept == drawn, "see 'Figures' in benchmarks/README.md"
    for picture in drawn.values():
        ET.fromstring(picture)


# -- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", documents.SECTIONS, ids=lambda section: section.document)
def test_figures_in_the_documents_are_the_kept_results(
    section: documents.Section, results: dict[str, Any]
) -> None:
    assert section.kept() == section.make(results), "see 'Figures' in benchmarks/README.md"


def test_capacity_is_worked_out_from_the_kept_results(results: dict[str, Any]) -> None:
    document = RESULTS.parent / "CAPACITY.md"
    if not results:
        assert not document.exists()
        return
    assert document.read_text("utf-8") == capacity_text.as_markdown(results)


# -- simulation ------------------------------------------------------------------------------------


def test_the_simulation_is_deterministic() -> None:
    sweeping = Sweeping(interval=60.0, per_second=1000.0)
    one, same, other = (simulate(TRAFFIC, sweeping, seconds=2000, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_simulation_agrees_with_the_formula() -> None:
    sweeping = Sweeping(interval=120.0, per_second=1000.0)
    found = simulate(TRAFFIC, sweeping, seconds=20_000, seed=3)
    assert found.live == pytest.approx(TRAFFIC.live, rel=0.03)
    assert found.stored == pytest.approx(TRAFFIC.live + TRAFFIC.arrivals * 60, rel=0.03)
    assert found.requests_per_second == pytest.approx(TRAFFIC.requests_per_second, rel=0.03)


def test_capacity_grows_with_the_sessions() -> None:
    flow = capacity.traffic(1_000_000)
    assert flow.live == pytest.approx(1_000_000)
    assert capacity.stored(2_000_000) == pytest.approx(2 * capacity.stored(1_000_000))
