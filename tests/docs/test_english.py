"""Docstrings, comments and messages read like those of any maintained package.

A docstring is an imperative or a noun phrase, and names the actor: request, worker, caller.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documents import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "wsgi_sessions"

REFUSED = {
    r"\banew\b": "again, from the start, afresh",
    r"\b[Ll]est\b": "so that … not",
    r"\b[Mm]eanwhile\b": "in between, since then, by then, at the same time",
    r"\bhad better\b": "should",
    r"\bbe it\b": "whether",
    r"\bthat which\b": "what, the one that",
    r"\b[Ww]ho(ever|soever)\b": "anyone who, the request that",
    r"\bshall\b": "should, is to, must",
    r"\bone's\b": "its, the caller's",
    r"(?<!\b[Tt]here )\b(is|are|was|were) no (?!more\b|less\b|\w+er\b)": "is not a",
    r"(?<!\b[Tt]here )\b(is|are|was|were) none\b(?! of)": "there is no …, has none",
    r"(?:^|[.:;?!] )Who\b": "visitors who, a request that",
}
"""Phrases that make a native reader stop, and what to write."""

REFUSED_AT_THE_START = {
    r"(Who|Whose|What|Whoever|Whatever|Which)\b": "a noun phrase, or Return …",
    r"(How|When|Where|Why|Whether)\b(?= .* )": "Return how many …, the time when …, the place of …",
    r"Of (which|what|all|one|each|a|the)\b": "a noun phrase with the noun first",
}
"""Words that no docstring begins with; for a property, `Whether` is fine."""


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        found.setdefault(parts[0] if len(parts) > 1 else "ground", []).append(path)
    return found


ROOMS = rooms()


def docstrings(tree: ast.AST) -> Iterator[tuple[ast.Constant, bool]]:
    """Every docstring, also of a name, and whether it is a property's or an attribute's."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for i, statement in enumerate(body if isinstance(body, list) else []):
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
                continue
            if isinstance(statement.value.value, str):
                yield statement.value, i > 0 or is_property(node)


def is_property(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any("property" in ast.unparse(decorator) for decorator in decorators)


def texts_of(source: str) -> Iterator[tuple[int, str, str]]:
    """All prose of a module: line, kind, and text on one line."""
    tree = ast.parse(source)
    documents = {id(node): is_value for node, is_value in docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            is_value = documents.get(id(node))
            kind = "message" if is_value is None else "value" if is_value else "docstring"
            yield node.lineno, kind, " ".join(node.value.split())
    yield from comments(source)


def comments(source: str) -> Iterator[tuple[int, str, str]]:
    """The comments; those on lines that follow each other are one."""
    line, block = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if block and token.start[0] != line + 1:
                yield line, "comment", block
                block = ""
            line, block = token.start[0], f"{block} {text}".strip()
    if block:
        yield line, "comment", block


def faults_in(source: str) -> Iterator[tuple[int, str]]:
    for line, kind, text in texts_of(source):
        for pattern, better in REFUSED.items():
            if found := re.search(pattern, text):
                around = text[max(0, found.start() - 20) : found.end() + 20]
                yield line, f"…{around}…: {better}"
        for pattern, better in REFUSED_AT_THE_START.items():
            is_fine = kind == "value" and text.startswith("Whether")
            if kind in ("docstring", "value") and not is_fine and re.match(pattern, text):
                yield line, f"{text[:50]}…: {better}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_the_english_of_a_room(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {fault}"
        for path in ROOMS[room]
        for line, fault in faults_in(path.read_text())
    ]
    assert not found, "\n".join(["phrases to write in another way:", *found])


@pytest.mark.parametrize(
    "bad",
    [
        'def f():\n    """What a store is opened for, and by whom."""',
        'def f():\n    """Whether the process is alive."""',
        "x = 1  # begin anew\n",
        "# the lock is held by\n# whoever uses it\n",
        'raise ValueError("a folder is no file")',
        'class A:\n    """A thing. Who waits longest need not be next."""',
    ],
)
def test_a_phrase_is_found(bad: str) -> None:
    assert list(faults_in(bad))


@pytest.mark.parametrize(
    "good",
    [
        'class A:\n    @property\n    def f(self):\n        """Whether the process is alive."""',
        'x = 1\n"""Whether the process is alive."""',
        'def f():\n    """Return whether a record is no longer than that."""',
        "x = 1  # there is no record, or there is none yet\n",
    ],
)
def test_plain_english_passes(good: str) -> None:
    assert not list(faults_in(good))


# -- sections of arguments -------------------------------------------------------------------------

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:    .*\n?)+)", re.MULTILINE)
NAMES = re.compile(r"^    (\w[\w, ]*):", re.MULTILINE)


def documented(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Return the names in the sections "Args" and "Attributes" of a docstring."""
    sections = "".join(SECTION.findall((ast.get_docstring(node) or "") + "\n"))
    return {name.strip() for names in NAMES.findall(sections) for name in names.split(",")}


def arguments(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Return the parameters of a function; of a class, those of its constructor, and its fields."""
    if isinstance(node, ast.FunctionDef):
        given = node.args
        return {argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    found: set[str] = set()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found.add(statement.target.id)
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            found |= arguments(statement)
    return found


def unknown_arguments(source: str) -> list[str]:
    return [
        f"{node.name}: {sorted(unknown)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        and (unknown := documented(node) - arguments(node))
    ]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_documented_arguments_exist(room: str) -> None:
    found = {str(path): unknown_arguments(path.read_text()) for path in ROOMS[room]}
    assert not {path: unknown for path, unknown in found.items() if unknown}


def test_an_unknown_argument_would_be_found() -> None:
    source = (
        'def f(a, *, b):\n    """Do.\n\n    Args:\n        a: one.\n        c, b: two.\n    """'
    )
    assert unknown_arguments(source) == ["f: ['c']"]


@pytest.mark.parametrize("name", [*DOCUMENTS, "SECURITY.md"])
def test_the_english_of_a_document(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (PACKAGE.parent / name).read_text(), flags=re.M | re.S)
    found = [
        f"…{text[max(0, match.start() - 30) : match.end() + 30]}…: {better}"
        for pattern, better in REFUSED.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []
