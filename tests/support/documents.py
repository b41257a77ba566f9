"""The documents, and what is to be found in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT / "docs").with_suffix("").as_posix(): path.read_text("utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}
"""The site's pages, by their names such as ``howto/flask``."""
REFERENCE = PAGES["reference/api"]
LAYERS = PAGES["explanation/layers"]
INVARIANTS = PAGES["explanation/invariants"]
DEPENDENCIES = PAGES["explanation/dependencies"]
INSIDE = (LAYERS, INVARIANTS, DEPENDENCIES)
"""What is about the code, and so names what is private."""
SITE = "\n".join(text for text in PAGES.values() if text not in INSIDE)
"""What is for users."""
DOCUMENTS = {
    "README.md": README,
    "CONTRIBUTING.md": CONTRIBUTING,
    **{f"docs/{name}.md": text for name, text in PAGES.items()},
}


def blocks(language: str, text: str = SITE) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(first: str, text: str = SITE) -> list[list[str]]:
    """The cells of the table whose first column has this title."""
    table = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, f"no table begins with {first!r}"
    lines = table[1].splitlines()
    return [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def codes(text: str) -> list[str]:
    """What stands between backticks in running text and tables."""
    running = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", running)
