"""The pages' lists of threads and of other projects' internals, held to the code."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from documents import DEPENDENCIES, LAYERS, ROOT

import wsgi_sessions

PACKAGE = Path(wsgi_sessions.__file__).parent
PROJECTS = ("redis", "hiredis", "psycopg", "pymysql", "werkzeug", "msgspec", "sys", "os")
# What shows in the code that a module leans on what is listed.
SIGNS = re.compile(
    r"""\bregister_at_fork\b|\b_getframe\b|["'](?:/proc/)|from\ hiredis\b|\bDefaultParser\b
    |\bredis\.crc\b|\b_get_current_object\b|\(psycopg\.Connection|\b_read_timeout\b|"_sock"
    |\bf"/proc/|\bmadvise\b""",
    re.VERBOSE,
)


UPGRADES = DEPENDENCIES.partition("\n## ")[0]
THREADS = LAYERS.partition("## Where is …?")[2]
DOTTED = sorted(
    name
    for name in set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", UPGRADES))
    if name.partition(".")[0] in PROJECTS
)


@pytest.mark.parametrize("name", DOTTED)
def test_the_internals_that_are_leaned_on_exist(name: str) -> None:
    module, _, rest = name.partition(".")
    found: Any = pytest.importorskip(module)
    for part in rest.split("."):
        if not hasattr(found, part):
            import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)


def test_every_module_that_leans_on_something_is_listed() -> None:
    for path in PACKAGE.rglob("*.py"):
        sign = SIGNS.search(path.read_text())
        name = path.relative_to(ROOT).as_posix()
        assert sign is None or f"`{name}`" in UPGRADES, f"{name}: {sign[0]}"


def test_private_names_of_other_projects_are_listed() -> None:
    """Where the linter was told to let one pass, and not for a name of this package."""
    for path in PACKAGE.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "noqa: SLF001" in line and "of this package" not in line:
                (private,) = set(re.findall(r"\.(_[a-z]\w*)", line.partition("#")[0]))
                assert re.search(rf"\b{private}`", UPGRADES), f"{path}: {private}"


def test_every_thread_is_listed() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "testing" / "contract"):
            continue  # tests, which no application runs
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).rpartition(".")[2]
                names = [k.value for k in node.keywords if k.arg == "name"] + node.args[:1]
                if called in ("Thread", "Background") and path.stem != "background":
                    name = next(str(n.value) for n in names if isinstance(n, ast.Constant))
                    listed = f"| `{name}` | `{path.relative_to(ROOT).as_posix()}` |"
                    assert listed in THREADS, listed
