"""The layers of the package: imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsgi_sessions

ROOT = Path(wsgi_sessions.__file__).parent
# From the bottom up; what stands in one line may not import each other, but for what ends in a
# star, which is one part of the program in several files.
LAYERS = [
    {"texts", "clock"},
    {"conflict", "pseudonyms"},
    {"errors"},
    {"serialization", "identity", "headers", "hooks", "hook_runner", "lease_keeper"},
    {
        "tombstones",
        "merge",
        "cookies",
        "events",
        "settings.kinds",
        "permissions",
        "migration.transfer",
    },
    {"workspace", "plain", "settings.declaration", "audit"},
    {"draft", "settings.contexts", "settings.versions", "settings.imports", "settings.identity"},
    {"config"},
    {"session", "config_help", "refresh.rule", "identity_rules"},
    {"stores.base"},
    {"stores.context_records", "stores.breaker", "stores.turns"},
    {"stores.token_locks", "waiters"},
    {"stores.memory.*", "stores.file.*", "stores.redis.*", "stores.sql.*"},
    {"stores.urls", "sweeper", "leases"},
    {"contexts", "versions", "importers.base"},
    {"importers.packed", "importers.pickles"},
    {"importers.redis_records", "importers.sql_records", "importers.file_records"},
    {"importers.django", "importers.flask_session", "importers.flask_cookie"},
    {"importers.urls"},
    {"succession"},
    {"commit"},
    {"importers.receipts"},
    {"migration.mover", "health", "backend_choice.server_process"},
    {"backend_choice.agreement", "migration.takeover_parts"},
    {"backend_choice.choice", "migration.takeover", "migration.copying"},
    {"stack_parts.store"},
    {"doctor"},
    {"loading"},
    {"principals"},
    {"manager"},
    {"importers.adoption"},
    {"importers.conversion"},
    {"inspection"},
    {"maintenance"},
    {"transaction"},
    {"refresh.visit"},
    {"refresh.refresher"},
    {"middleware.response", "middleware.health", "middleware.page_load"},
    {"middleware.answers"},
    {"middleware.session", "middleware.login"},
    {"middleware.context", "middleware.lease", "middleware.version*"},
    {"stack_parts.contexts", "stack_parts.versions", "stack_parts.imports"},
    {"stack"},
    {"contrib*"},
    {""},
    {"demo*"},
    {"cli*"},
    {"__main__"},
]
ADAPTERS = {"stores.memory", "stores.file", "stores.redis", "stores.sql"}
# Their __init__ holds a docstring only.
PACKAGES = {
    *("backend_choice", "contrib", "importers", "middleware", "migration", "refresh", "settings"),
    *("stack_parts", "stores"),
    *ADAPTERS,
}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip("."): path
        for path in ROOT.rglob("*.py")
    }


def layer(module: str) -> tuple[int, str]:
    """The number of a module's layer, and the name of its room there."""
    for number, names in enumerate(LAYERS):
        for name in names:
            if module == name or (name.endswith("*") and module.startswith(name[:-1])):
                return number, name
    raise AssertionError(f"{module} is in no layer: give it a place in LAYERS")


def imports(path: Path, *, at_run_time: bool) -> set[str]:
    """The modules of this package that a file imports, or that its annotations name too."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(ast.walk(node))
    found = set()
    known = modules()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        ours = [
            n.removeprefix("wsgi_sessions").lstrip(".")
            for n in names
            if n.startswith("wsgi_sessions")
        ]
        exact = [name for name in ours if name in known]
        found.update(exact[-1:])
    return found


@pytest.mark.parametrize("module", sorted(modules().keys() - PACKAGES))
def test_imports_point_down(module: str) -> None:
    number, room = layer(module)
    for imported in imports(modules()[module], at_run_time=True) - PACKAGES:
        below, other = layer(imported)
        assert below < number or room == other, (
            f"{module} imports {imported}, which is not below it"
        )


@pytest.mark.parametrize("module", sorted(modules().keys() - PACKAGES))
def test_nothing_inside_imports_the_package_itself(module: str) -> None:
    if module in ("", "__main__") or module.startswith(("cli", "demo")):
        return
    assert "" not in imports(modules()[module], at_run_time=False)


def test_a_store_knows_no_http_and_no_merging() -> None:
    forbidden = {"cookies", "headers", "merge", "session", "commit", "manager", "transaction"}
    for module, path in modules().items():
        if module.startswith("stores.") and module != "stores.urls":
            assert not imports(path, at_run_time=False) & forbidden, module


def test_the_core_knows_no_wsgi() -> None:
    for module in (
        "serialization",
        "merge",
        "workspace",
        "draft",
        "session",
        "commit",
        "loading",
        "identity_rules",
        "manager",
    ):
        text = modules()[module].read_text()
        assert "werkzeug" not in text
        assert "start_response" not in text


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("from wsgi_sessions.stack import build\n")
    assert imports(path, at_run_time=True) == {"stack"}
    assert layer("stack")[0] > layer("merge")[0]


def test_importing_the_package_opens_no_driver() -> None:
    """Adapters are imported on use: a worker on files pays nothing for redis."""
    names = ("redis", "click", "gunicorn", "flask")
    program = f"import sys, wsgi_sessions; print([m for m in {names} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
