"""The house: imports point down only, no circle, no crowded folder; and its picture."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from documents import INVARIANTS, LAYERS
from house import FLOORS, MODULES

if TYPE_CHECKING:
    from pathlib import Path

GROUND = {
    *("texts", "clock", "errors", "linking", "identity", "background", "mutex", "upkeep", "forks"),
    *("contract", "endings"),
}
# Beside the floors: what these may import at run time, and nothing else.
ALONE = {"core": GROUND, "database": GROUND, "stores": {*GROUND, "settings", "database"}}
# Circles of modules that are to go. The list may only shrink.
CIRCLES: set[frozenset[str]] = set()
MOST_MODULES = 14  # in one folder, beside its __init__


FOLDERS = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


@cache
def imports(path: Path, *, at_run_time: bool) -> set[str]:
    """The modules of this package that a file imports, or that its annotations name too."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                found.update(_ours(f"{node.module}.{alias.name}", node.module)[:1])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found.update(_ours(alias.name)[:1])
    return found


def _ours(*names: str) -> list[str]:
    """Those that are modules of this package, without its name."""
    inside = [n for n in names if n.partition(".")[0] == "wsgi_sessions"]
    short = [n.removeprefix("wsgi_sessions").lstrip(".") for n in inside]
    return [n for n in short if n in MODULES]


def room(module: str) -> str:
    return module.partition(".")[0]


def floor(module: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms:
            return number
    raise AssertionError(f"{room(module)} is on no floor: give it a place in FLOORS")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    for imported in imports(MODULES[module], at_run_time=True):
        assert room(imported) == room(module) or floor(imported) < floor(module), (
            f"{module} imports {imported}, which is not below it"
        )
        if room(module) in ALONE and room(imported) != room(module):
            assert room(imported) in ALONE[room(module)], f"{module} imports {imported}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_below_imports_the_package_itself(module: str) -> None:
    if floor(module) <= floor(""):
        assert module == "" or "" not in imports(MODULES[module], at_run_time=False)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_circle_inside_a_folder(folder: str) -> None:
    """Neither of its modules nor of its folders, each of which counts as one."""
    below: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        here = _member(folder, module)
        if here is not None:
            others = {_member(folder, m) for m in imports(path, at_run_time=True)}
            below.setdefault(here, set()).update(others - {here, None})  # type: ignore[arg-type]
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        circle = error.args[1]
        assert frozenset(circle) in CIRCLES, f"{folder}: {' <- '.join(circle)}"


def _member(folder: str, module: str) -> str | None:
    """What of a folder a module is or lies in; None for what lies elsewhere, and its own face."""
    start = f"{folder}." if folder else ""
    if not module.startswith(start) or module == folder:
        return None
    return start + module.removeprefix(start).partition(".")[0]


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_no_folder_is_crowded(folder: str) -> None:
    files = [path for path in MODULES[folder].parent.glob("*.py") if path.stem != "__init__"]
    assert len(files) <= MOST_MODULES


def test_adapters_know_no_other_adapter() -> None:
    adapters = [name for name in FOLDERS if re.fullmatch(r"stores\.\w+", name)]
    for adapter in adapters:
        others = tuple(f"{name}." for name in adapters if name != adapter)
        for module, path in MODULES.items():
            if module.startswith(f"{adapter}."):
                assert not [m for m in imports(path, at_run_time=False) if m.startswith(others)]


def test_below_http_nothing_knows_wsgi() -> None:
    for module, path in MODULES.items():
        if room(module) in {"core", "stores", "database", *GROUND}:
            text = path.read_text()
            assert "werkzeug" not in text, module
            assert "start_response" not in text, module


def stored_by(path: Path) -> bool:
    """Whether a module calls `create` or `save` of a store, as `SessionStore` declares them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            versioned = any(given.arg == "expected_version" for given in node.keywords)
            if node.func.attr == "save" and versioned:
                return True
            if node.func.attr == "create" and len(node.args) == 3:
                return True
    return False


def test_every_writer_to_a_store_is_documented_with_the_reason() -> None:
    """Beside the stores, the commit and tests: a row for each such module."""
    rows = re.findall(r"^\| `wsgi_sessions/(\S+)\.py` \|", INVARIANTS, re.MULTILINE)
    writers = {
        module
        for module, path in MODULES.items()
        if not module.startswith(("stores.", "core.commit.", "testing.")) and stored_by(path)
    }
    assert {row.replace("/", ".") for row in rows} == writers
    assert stored_by(MODULES["core.commit.loop"])
    assert stored_by(MODULES["core.commit.creation"])


def test_the_picture_shows_these_floors() -> None:
    """That of `explanation/layers`: every room, from the top down, and every folder in its room."""
    (drawn,) = re.findall(r"## Layers\n.*?```\n(.*?)```", LAYERS, re.DOTALL)
    texts = re.split(r"^(?=\S)", drawn, flags=re.MULTILINE)[1:]
    told = {text.split()[0].rstrip("/").replace("__init__", ""): text for text in texts}
    assert list(told) == [name for rooms in reversed(FLOORS) for name in rooms]
    for folder in FOLDERS:
        if folder.count(".") == 1:
            assert f"{folder.partition('.')[2]}/" in told[room(folder)], folder


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("from wsgi_sessions.contrib import flask\nimport wsgi_sessions\n")
    assert {room(name) for name in imports(path, at_run_time=True)} == {"contrib", ""}
    assert floor("contrib") > floor("errors")


def test_importing_the_package_opens_no_driver() -> None:
    """Adapters are imported on use: a worker on files pays nothing for redis."""
    names = ("redis", "click", "gunicorn", "flask")
    program = f"import sys, wsgi_sessions; print([m for m in {names} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
