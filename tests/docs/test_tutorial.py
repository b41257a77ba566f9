"""The tutorial, followed to its end: programs, commands and what they print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from documents import PAGES
from redis_servers import available
from requirements_of_tests import require
from shell import Shell, steps

if TYPE_CHECKING:
    from pathlib import Path

PAGE = PAGES["tutorial/first-application"]
CHANGING = {
    r"\bworker \d+": "worker N",
    r"\bpoints [1-7]\b": "points FEWER",  # than the eight requests
    r"^[0-9a-f]{10}  [0-9a-f]{10}  \d+ .*": "a row of the list",
    r"^KEY +USER +BYTES +CREATED +LAST USED +EXPIRES$": "the head of the list",
}


def without_what_changes(text: str) -> str:
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def test_what_changes_hides_no_lost_update() -> None:
    for text in ("8 in the cart", "visits 7, credit 10", "points None"):
        assert without_what_changes(text) == text
    assert without_what_changes("points 8") != without_what_changes("points 1")


BLOCKS = re.findall(r"^```(python|console)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_first_race_is_what_happens(tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        follow_all(BLOCKS[:2], shell)


@pytest.mark.soak
def test_the_tutorial_is_what_happens(tmp_path: Path) -> None:
    require(available())
    with Shell(tmp_path) as shell:
        follow_all(BLOCKS, shell)
        assert re.search(r"session conflict session=\w{10} path='points'", shell.log)


def follow_all(blocks: list[tuple[str, str]], shell: Shell) -> None:
    try:
        for language, block in blocks:
            if language == "python":
                follow_program(block, shell.folder)
            else:
                follow(block, shell)
    finally:
        print(shell.log)


def follow_program(block: str, folder: Path) -> None:
    name = re.match(r"# (\w+\.py)\n", block)
    assert name is not None
    (folder / name[1]).write_text(block)


def follow(block: str, shell: Shell) -> None:
    for command, expected in steps(block):
        printed = without_what_changes(shell.run(command))
        assert printed == without_what_changes(expected), command


@pytest.mark.parametrize("command", ["kill %1", "export A=b"])
def test_a_transcript_is_split_into_its_commands(command: str) -> None:
    assert steps(f"$ {command}\n$ curl x\none\ntwo\n") == [(command, ""), ("curl x", "one\ntwo\n")]
