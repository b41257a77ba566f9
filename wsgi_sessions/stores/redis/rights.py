"""The rights that an ACL must give the user in the store URL, and whether the server does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from wsgi_sessions.stores.redis.wire.faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor
    from wsgi_sessions.stores.redis.wire.link import Command, Link, Word
    from wsgi_sessions.stores.redis.wire.url import RedisURL

# Each with arguments that let it be queued, after the key. Commands inside scripts must be allowed,
# too.
_ON_A_KEY: dict[str, tuple[Word, ...]] = {
    "DEL": (),
    "EXISTS": (),
    "EXPIRE": (1,),
    "GET": (),
    "GETRANGE": (0, 0),
    "HDEL": ("field",),
    "HGET": ("field",),
    "HINCRBY": ("field", 1),
    "HMGET": ("field",),
    "HSET": ("field", "value"),
    "HSETNX": ("field", "value"),
    "HVALS": (),
    "LPUSH": ("value",),
    "LRANGE": (0, 0),
    "LTRIM": (0, 0),
    "PEXPIRE": (1,),
    "PTTL": (),
    "RENAME": (),  # the same name: see `_trials`
    "SET": ("value",),
    "SETRANGE": (0, "value"),
    "ZADD": (0, "member"),
    "ZCARD": (),
    "ZCOUNT": (0, 0),
    "ZRANGE": (0, 0),
    "ZRANGEBYSCORE": (0, 0),
    "ZREM": ("member",),
    "ZREMRANGEBYRANK": (0, 0),
    "ZREMRANGEBYSCORE": (0, 0),
    "ZREVRANGE": (0, 0),
    "ZSCORE": ("member",),
}
_ON_NO_KEY: tuple[Command, ...] = (
    ("EVAL", "return 1", 0),
    ("EVALSHA", "0" * 40, 0),
    ("PING",),
    ("SCAN", 0),
    ("TIME",),
)
_MORE: dict[str, tuple[Command, ...]] = {
    "server": (),
    "sentinel": (("ROLE",),),
    "cluster": (("ASKING",), ("CLUSTER", "SLOTS")),
}
_TRY = "MULTI"


def needed(topology: str = "server") -> list[str]:
    """Return the commands that a user needs for sessions, middlewares and `check`.

    Advice about the server's settings also needs ``CONFIG GET`` and ``ROLE``, and is left out where
    these are forbidden; a database other than 0 needs ``SELECT``.
    """
    others = (*_ON_NO_KEY, *_MORE[topology])
    return sorted({*_ON_A_KEY, *(str(command[0]) for command in others), _TRY})


class RedisRights:
    """`Advice` about commands and keys that the server, by ACL or configuration, denies the user.

    Every command is tried, and nothing is done: each is queued in a transaction, where the server
    checks rights, and the transaction is never carried out.
    """

    def __init__(self, executor: Executor, keys: Keys, url: RedisURL) -> None:
        self._executor = executor
        self._keys = keys
        self._url = url

    def warnings(self) -> list[str]:
        """See `Advice.warnings`. Raises StoreUnavailable."""
        commands: set[str] = set()
        names: set[str] = set()
        for node in self._executor.nodes("rights"):
            found = node.alone("rights", lambda link: list(self._refused(link)))
            for what, error in found:
                (names if "to access" in str(error) else commands).add(what)
        return [*self._of_commands(sorted(commands)), *self._of_names(sorted(names - commands))]

    def _refused(self, link: Link) -> Iterator[tuple[str, ResponseError]]:
        """Return the refused commands, with the server's answers."""
        for command in ((_TRY,), *self._trials()):
            try:
                link.call(command)
            except ResponseError as error:
                if fault_of(error).code == "NOPERM" or "unknown command" in str(error):
                    yield str(command[0]), error
                    if command[0] == _TRY:
                        return

    def _trials(self) -> Iterator[Command]:
        name, *others = self._keys.one_of_each()
        for command, more in _ON_A_KEY.items():
            yield (command, name, *(more if command != "RENAME" else (name,)))
        for other in others:
            yield ("EXISTS", other)
            yield ("DEL", other)
        yield from (*_ON_NO_KEY, *_MORE[self._url.topology])
        if self._url.db:
            yield ("SELECT", self._url.db)

    def _of_commands(self, commands: list[str]) -> list[str]:
        if not commands:
            return []
        allowed = " ".join(f"+{command.lower()}" for command in commands)
        text = (
            f"Redis forbids its user {', '.join(commands)}, which sessions need: allow "
            f"them (ACL SETUSER {self._user} {allowed}), or do not rename them"
        )
        return [text]

    def _of_names(self, commands: list[str]) -> list[str]:
        if not commands:
            return []
        pattern = self._keys.pattern_of_all
        text = (
            f"Redis denies its user the keys of sessions (by {', '.join(commands)}): allow all "
            f"that begin with the key prefix (ACL SETUSER {self._user} ~{pattern})"
        )
        return [text]

    @property
    def _user(self) -> str:
        return self._url.username or "default"
