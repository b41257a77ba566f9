"""A name has one meaning in the package: no two classes or types of values share one."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

from documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_A_FRAMEWORK = {"Command", "SessionMiddleware", "SessionStore"}
"""Names that Django prescribes for its engine, its middleware and its commands."""


def names_in(source: str) -> Iterator[str]:
    """Yield the classes of a module, and its aliases of types."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and is_a_type(target.id):
                yield target.id


def is_a_type(name: str) -> bool:
    return name[:1].isupper() and not name.isupper()


def test_no_two_have_one_name() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "wsgi_sessions").rglob("*.py"):
        for name in names_in(path.read_text()):
            found[name].add(str(path.relative_to(ROOT)))
    shared = {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}
    assert {name: shared[name] for name in shared.keys() - OF_A_FRAMEWORK} == {}


def test_a_shared_name_would_be_found() -> None:
    source = "class A:\n    class _B: ...\nCc = int | str\nDd: TypeAlias = 'int'\nLIMIT = 5\n"
    assert set(names_in(source)) == {"A", "_B", "Cc", "Dd"}
