"""Commands to any number of Redis servers: single ones, scripts, and scans."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.stores.redis.wire.connection import NodeExecutor
    from wsgi_sessions.stores.redis.wire.link import Command, Word


class Executor(Protocol):
    """Runs commands on one or several servers.

    Each call is bounded by the deadline, is repeated at most once after a connection fault, and
    raises `StoreUnavailable` alone, with its purpose (`operation`, `key`); except `NoScriptError`,
    which is not a fault. A command may thus run twice, after a lost reply: every command has to
    allow for that.
    """

    @property
    def retries(self) -> int:
        """Return how often this thread has repeated a command.

        Changed by a call, its command may have run twice.
        """

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        """Run a command, its Redis key in the usual place, and return the raw reply."""

    def execute_once(self, operation: str, key: str | None, *command: Word) -> Any:
        """Like `execute`, without repeating a command that may have run: `WriteInDoubt`."""

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:
        """Return an executor for each primary, for commands about a server and not a key."""

    def close(self) -> None:
        """Close idle connections. The executor may be used again."""


class Script:
    """A Lua script, sent by its hash; its text only to a server that does not know it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(
        self, executor: Executor, operation: str, key: str | None, keys: Command, *args: Word
    ) -> Any:
        """Run it on `keys`, all of one slot. Raises as `Executor.execute`."""
        try:
            return executor.execute(operation, key, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return executor.execute(operation, key, "EVAL", self.text, len(keys), *keys, *args)


def scan(
    executor: Executor, operation: str, pattern: str, count: int = 1000
) -> Iterator[list[bytes]]:
    """Yield matching keys in batches; one may come twice while a server resizes its table.

    `count`: the keys that a server looks at in one step, others wait for so long.
    """
    for node in executor.nodes(operation):
        cursor = None
        while cursor != b"0":
            words = ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", count)
            cursor, batch = node.execute(operation, None, *words)
            yield batch


class Count(threading.local):
    """A counter for each thread; with gevent, for each greenlet."""

    number = 0


def literally(name: str) -> str:
    """Return a pattern, for SCAN and ACLs, that only this text matches."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", name)
