"""Tokens of commits are never the same, in threads and in forked children either."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from wsgi_sessions.core.commit.tokens import CommitTokens


def test_tokens_are_of_eight_bytes_and_differ() -> None:
    tokens = CommitTokens()
    drawn = {tokens.draw() for _ in range(2000)}
    assert len(drawn) == 2000
    assert {len(token) for token in drawn} == {8}


def test_threads_draw_different_ones() -> None:
    tokens = CommitTokens()
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: [tokens.draw() for _ in range(1000)], range(8)))
    assert len({token for some in drawn for token in some}) == 8000


def test_a_forked_child_draws_its_own() -> None:
    tokens = CommitTokens()
    tokens.draw()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(tokens.draw() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 800)
    os.close(read)
    os.close(write)
    assert len(theirs) == 800
    mine = {tokens.draw() for _ in range(500)}
    assert not mine & {theirs[start : start + 8] for start in range(0, 800, 8)}
