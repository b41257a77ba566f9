"""The command line, run in this process."""

from __future__ import annotations

import os

from click.testing import CliRunner, Result

from wsgi_sessions.cli import main

NOBODY_LISTENS = "redis://:a-password@127.0.0.1:1/0"


A_SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"


def run(*arguments: str, **environ: str) -> Result:
    """Run a command with these variables and none of the machine's own."""
    others = {name: None for name in os.environ if name.startswith("WSGI_SESSIONS_")}
    return CliRunner().invoke(main, arguments, env={**others, **environ})


def said(result: Result) -> str:
    """What a command says on stderr beside which store it looks at."""
    lines = result.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("store: "))


def assert_refused(result: Result, exit_code: int, *words: str) -> None:
    """One clear line on stderr, and nothing else."""
    assert result.exit_code == exit_code, result.stdout
    assert result.stdout == ""
    (line,) = said(result).splitlines()
    assert line.startswith("Error: ")
    for word in words:
        assert word in line
