"""Faults between a store and a Redis server: their names, remedies, and reactions."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from redis import exceptions as redis_errors

from wsgi_sessions import texts
from wsgi_sessions.errors import StoreUnavailable, bare
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.breaker import CircuitOpen


class RedisReaction(enum.Enum):
    """The reaction of an executor to a fault."""

    RECONNECT = "no answer: try once more on a fresh connection; counts at the breaker"
    LEAVE = "the wrong server answered: try once more on a fresh connection"
    REPORT = "the server has spoken: fail at once"
    GIVE_UP = "the client library itself failed: fail at once"


class RedisFault(NamedTuple):
    """One kind of fault: its code, the sentence about it, and the reaction to it."""

    code: str
    sentence: str
    reaction: RedisReaction = RedisReaction.REPORT

    def error(
        self,
        server: str,
        operation: str,
        key: str | None,
        attempts: int,
        cause: BaseException,
        kind: type[StoreUnavailable] = StoreUnavailable,
    ) -> StoreUnavailable:
        """Return the exception that leaves the store: the sentence, and the words of `cause`.

        They are short, on one line, and without the command's arguments.
        """
        return kind(
            f"Redis at {server} {self.sentence} ({_words_of(cause)})",
            operation=operation,
            key=None if key is None else short_key(key),
            attempts=attempts,
        )


_CLUSTER_MEMBER = "belongs to a cluster: write the URL with redis+cluster://"
_BAD_PASSWORD = "refused the user name or password: correct them in the store URL"  # noqa: S105 - a sentence
_FAULTS = {
    fault.code: fault
    for fault in (
        RedisFault(
            "TIMEOUT",
            "did not answer within the deadline: is it hung, or far?",
            RedisReaction.RECONNECT,
        ),
        RedisFault(
            "UNREACHABLE", "cannot be reached, or hung up: is it running?", RedisReaction.RECONNECT
        ),
        RedisFault(
            "READONLY",
            "is a read-only replica: let the store URL name the primary, or use redis+sentinel://",
            RedisReaction.LEAVE,
        ),
        RedisFault("LOADING", "is still loading its data: it answers when that is done"),
        RedisFault("MASTERDOWN", "is a replica that lost its primary: wait for the failover"),
        RedisFault(
            "CLUSTERDOWN",
            "says that its cluster is down: look at CLUSTER INFO, and bring back the nodes that "
            "serve the missing slots",
        ),
        RedisFault("TRYAGAIN", "is moving this key to another node: try again"),
        RedisFault("BUSY", "is busy with a script: wait for it, or end it with SCRIPT KILL"),
        RedisFault(
            "MAXCLIENTS", "has no room for a client: raise its maxclients, or run fewer workers"
        ),
        RedisFault(
            "OOM",
            "has reached its maxmemory and takes no writes (log-outs still work): "
            "raise maxmemory, or free some",
        ),
        RedisFault(
            "MISCONF",
            "cannot write to its disk and takes no writes: free some of the disk, and look at its "
            "log",
        ),
        RedisFault(
            "NOREPLICAS",
            "has too few replicas and takes no writes: bring them back, or lower "
            "min-replicas-to-write",
        ),
        RedisFault(
            "DENIED",
            "takes connections from its own host only (protected mode): set requirepass there and "
            "put the password into the store URL",
        ),
        RedisFault("NOAUTH", "wants a password: add user:password@ to the store URL"),
        RedisFault("WRONGPASS", _BAD_PASSWORD),
        RedisFault(
            "NOPERM",
            "forbids this user a command or a key that sessions need: 'wsgi-sessions check' tells "
            "which; allow them by ACL SETUSER",
        ),
        RedisFault(
            "WRONGTYPE",
            "holds another application's data under a session's key: "
            "give this application a `key_prefix` of its own",
        ),
        RedisFault("MOVED", _CLUSTER_MEMBER),
        RedisFault("ASK", _CLUSTER_MEMBER),
        RedisFault("DATABASE", "does not have the database that the store URL names"),
        RedisFault(
            "TLS",
            "and this side cannot agree on TLS: look at ssl_ca_certs, whether its certificate "
            "names the host as the store URL does, and whether it speaks TLS",
        ),
        RedisFault("PROTOCOL", "does not speak the Redis protocol: is it another service's port?"),
        RedisFault("ERROR", "answered with an error"),
        RedisFault(
            "DRIVER",
            "cannot be used: correct the store URL, or report it if that is right",
            RedisReaction.GIVE_UP,
        ),
    )
}

# Some classes came late to redis-py; before, the code begins the text.
_CODES_BY_CLASS: tuple[tuple[str, str], ...] = (
    ("ReadOnlyError", "READONLY"),
    ("BusyLoadingError", "LOADING"),
    ("MasterDownError", "MASTERDOWN"),
    ("ClusterDownError", "CLUSTERDOWN"),
    ("TryAgainError", "TRYAGAIN"),
    ("OutOfMemoryError", "OOM"),
    ("NoPermissionError", "NOPERM"),
    ("MovedError", "MOVED"),
    ("AskError", "ASK"),
    ("InvalidResponse", "PROTOCOL"),
    ("TimeoutError", "TIMEOUT"),
)
# Inside a script, the code of the failed command stands in the middle of the text.
_CODE_IN_TEXT = re.compile(
    r"\b(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|MISCONF|NOREPLICAS|NOAUTH|"
    r"WRONGPASS|NOPERM|WRONGTYPE|MOVED|ASK)\b"
)
_HINTS = (
    ("max number of clients", "MAXCLIENTS"),
    ("protected mode", "DENIED"),
    ("Authentication required", "NOAUTH"),
    ("user executing the script", "NOPERM"),
    ("DB index", "DATABASE"),
    ("CERTIFICATE_VERIFY_FAILED", "TLS"),
    ("WRONG_VERSION_NUMBER", "TLS"),
)

_ARGUMENTS = ", with args"
_DIGEST = re.compile(r"[0-9a-f]{32,}")  # a store key, or the hash of a script
_MOST_WORDS = 200

# The server serves reads all the same; TRYAGAIN: commands on a single key.
_READS_ONLY = frozenset(("READONLY", "OOM", "MISCONF", "NOREPLICAS", "TRYAGAIN"))


def takes_no_writes(error: StoreUnavailable) -> bool:
    """Return whether the server, which has answered, may still serve a mere read of the session."""
    cause = error.__cause__
    return isinstance(cause, redis_errors.RedisError) and fault_of(cause).code in _READS_ONLY


def hangs_up(error: Exception) -> bool:
    """Return whether a server ends the connection with this answer.

    The next command on it would fail with a fault that tells nothing.
    """
    return fault_of(error).code in ("DENIED", "MAXCLIENTS")


def fault_of(error: BaseException) -> RedisFault:
    """Return the fault behind an exception of redis-py, or anything else in place of a reply.

    The class decides first, then the text.
    """
    return _FAULTS[_code(error)]


def _code(error: BaseException) -> str:
    if isinstance(error, OSError):
        return "UNREACHABLE"
    if not isinstance(error, redis_errors.RedisError):
        return "DRIVER"
    for name, code in _CODES_BY_CLASS:
        if name in {cls.__name__ for cls in type(error).__mro__}:
            return code
    text = str(error)
    for hint, code in _HINTS:
        if hint in text:
            return code
    if isinstance(error, redis_errors.AuthenticationError):
        return "WRONGPASS"
    if isinstance(error, redis_errors.ConnectionError):
        return "UNREACHABLE"
    found = _CODE_IN_TEXT.search(text)
    return found.group() if found else "ERROR"


def without_arguments(error: BaseException) -> BaseException:
    """Return the error for a log, on one line (see `bare`).

    A server that lacks a command repeats its arguments, and these hold store keys and session data.
    """
    text, found, _ = str(error).partition(_ARGUMENTS)
    return redis_errors.ResponseError(text) if found else bare(error)


def _words_of(error: BaseException) -> str:
    text = str(error).partition(_ARGUMENTS)[0]
    if not isinstance(error, redis_errors.RedisError | CircuitOpen):
        text = f"{type(error).__name__}: {text}"
    return _DIGEST.sub("…", texts.shown(text, _MOST_WORDS))
