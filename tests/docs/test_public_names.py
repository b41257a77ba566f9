"""The public edge: `__all__`, the reference and the documents' programs name the same.

A name counts where it stands as code: an English word in running text is no documentation.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from documents import CONTRIBUTING, README, REFERENCE, SITE, blocks, codes

import wsgi_sessions
from wsgi_sessions import contrib

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(wsgi_sessions.__file__).parent


def public_modules() -> list[str]:
    """The package, what is imported apart from it, each adapter in ``contrib``, and test tools."""
    found = pkgutil.iter_modules(contrib.__path__)
    # The modules beside them are what the adapters share.
    adapters = [f"wsgi_sessions.contrib.{it.name}" for it in found if it.ispkg]
    testing = ["wsgi_sessions.testing"] if (PACKAGE / "testing").is_dir() else []
    return ["wsgi_sessions", "wsgi_sessions.models", *adapters, *testing]


PUBLIC: dict[str, set[str]] = {name: set(import_module(name).__all__) for name in public_modules()}
NAMES = set().union(*PUBLIC.values())
CLASSES = {
    node.name
    for path in PACKAGE.rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
}


# -- the reference ---------------------------------------------------------------------------------


def referenced(text: str) -> dict[str, set[str]]:
    """What the reference lists: of each module, the code in the first column of its tables."""
    sections = re.split(r"^## `([\w.]+)`$", text, flags=re.MULTILINE)[1:]
    return {
        module: set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        for module, section in zip(sections[::2], sections[1::2], strict=True)
    }


def test_the_reference_lists_exactly_the_public_names() -> None:
    assert referenced(REFERENCE) == PUBLIC


def test_a_name_that_is_only_a_word_of_the_text_is_not_listed() -> None:
    text = (
        "## `wsgi_sessions`\n\ncheck and build are words.\n| name | what |\n| `build` | check |\n"
    )
    assert referenced(text) == {"wsgi_sessions": {"build"}}


def test_no_name_is_listed_twice() -> None:
    for section in re.split(r"^## ", REFERENCE, flags=re.MULTILINE):
        listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert len(listed) == len(set(listed))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_can_be_imported_and_has_a_docstring(module: str) -> None:
    for name in PUBLIC[module]:
        it = getattr(import_module(module), name)
        assert inspect.getdoc(it), name
        if inspect.isclass(it):
            assert it.__doc__, name


def test_the_text_says_what_is_private() -> None:
    for text in (CONTRIBUTING, REFERENCE, wsgi_sessions.__doc__ or ""):
        assert re.search(r"\bprivate\b", text)


# -- the documents ---------------------------------------------------------------------------------


def imported(program: str) -> Iterator[tuple[str, str]]:
    """What a program imports of this package: modules and names."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if _is_ours(alias.name))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "wsgi_sessions"


def programs() -> list[str]:
    """The documents', their sessions at a prompt, and what it imports in running text."""
    prompts = [
        "".join(re.findall(r"^(?:>>>|\.\.\.) ?(.*\n)", block, re.MULTILINE))
        for block in blocks("pycon")
    ]
    inline = [
        code for code in codes(README + SITE) if re.match(r"(from|import) wsgi_sessions", code)
    ]
    return [*blocks("python", README + SITE), *prompts, *inline]


@pytest.mark.parametrize("program", programs())
def test_programs_import_public_names_alone(program: str) -> None:
    for module, name in imported(program):
        assert module in PUBLIC, f"{module} is private"
        assert not name or name in PUBLIC[module], f"{module}.{name} is private"


def test_a_private_import_would_be_found() -> None:
    program = "from wsgi_sessions.stores.sql.backend import open_sql\nimport wsgi_sessions.texts"
    assert [module for module, _ in imported(program) if module not in PUBLIC] == [
        "wsgi_sessions.stores.sql.backend",
        "wsgi_sessions.texts",
    ]


def test_every_class_that_the_documents_name_is_public() -> None:
    named = {
        name
        for code in codes(README + SITE)
        for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w*\b", code)
    }
    assert not (named & CLASSES) - NAMES


def examples() -> Iterator[Any]:
    """The programs in the docstrings of public names."""
    for module, names in PUBLIC.items():
        for name in sorted(names):
            doc = inspect.getdoc(getattr(import_module(module), name)) or ""
            for block in re.findall(r"::\n\n((?:(?: {4}.*)?\n)+)", doc + "\n"):
                yield pytest.param(textwrap.dedent(block), id=f"{module}.{name}")


@pytest.mark.parametrize("example", list(examples()))
def test_examples_in_docstrings_are_wired_from_public_names(example: str) -> None:
    called = {
        node.func.id
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not {name for name in called if name in CLASSES} - NAMES - set(dir(builtins))


# -- what importing costs --------------------------------------------------------------------------


def test_the_public_names_need_no_optional_library() -> None:
    """Where SQLAlchemy is missing, only what needs it says so, and names the remedy."""
    program = """
import sys
import textwrap
sys.modules.update(dict.fromkeys(("sqlalchemy", "redis", "flask", "psycopg")))
import wsgi_sessions
for name in wsgi_sessions.__all__:
    getattr(wsgi_sessions, name)
for function in (wsgi_sessions.open_sql, wsgi_sessions.migrate_schema):
    try:
        function("sqlite://")
    except wsgi_sessions.ConfigurationError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "sessions in SQL need SQLAlchemy: pip install 'wsgi-sessions[sql]'\n" * 2
