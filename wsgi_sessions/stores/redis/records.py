"""A session's record on the server: its key, its bytes, its time to live."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Record
from wsgi_sessions.errors import ConfigurationError, CorruptRecord, UnsupportedFormat
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.redis.wire.commands import literally

if TYPE_CHECKING:
    from collections.abc import Callable

# The five high bits mark a value as ours (no UTF-8 text begins like this), the three low ones its
# format.
FORMAT = 0xF9
_OURS = 0xF8
_HEADER = struct.Struct(">BQd")
_HEADER_SIZE = _HEADER.size
_STAMP = struct.Struct(">BQ")
_pack_header, _unpack_header, _pack_stamp = _HEADER.pack, _HEADER.unpack_from, _STAMP.pack
_NEVER = math.inf
STAMP_SIZE = _STAMP.size
_LONGEST_TTL = 100 * 365 * 86400.0


_TENANT = re.compile(rb"@([A-Za-z0-9][A-Za-z0-9._-]{0,63}):")


class Keys:
    """The names of our keys on the server.

    Raises `ConfigurationError` for a prefix with braces (all sessions would lie in one slot of a
    cluster) or control characters.
    """

    def __init__(self, prefix: str) -> None:
        if re.search(r"[{}\x00-\x1f\x7f]", prefix):
            raise ConfigurationError(
                f"key prefix {prefix!r}: braces and control characters are not allowed"
            )
        self._prefix = prefix
        self.quarantine = f"{prefix}quarantine"
        self.versions = f"{prefix}versions:{{stamps}}"
        self.refreshes = f"{prefix}refreshes"
        self.endings = tuple(f"{prefix}endings:{{ends}}{group}" for group in ("", ":u", ":v"))
        self.records_pattern = self.pattern(self.record)
        self.contexts_pattern = self.pattern(self.context)

    def record(self, key: str) -> str:
        return f"{self._prefix}{{{key}}}"

    def lock(self, key: str) -> str:
        return f"{self._prefix}lock:{{{key}}}"

    def holders(self, key: str) -> str:
        return f"{self._prefix}holders:{{{key}}}"

    def claim(self, key: str) -> str:
        return f"{self._prefix}claim:{{{key}}}"

    def set_aside(self, key: str) -> str:
        return f"{self._prefix}quarantine:{{{key}}}"

    def context(self, digest: str) -> str:
        return f"{self._prefix}context:{{{digest}}}"

    def principal(self, principal: str) -> str:
        """Return the key of a principal, by its hash: names of users do not belong into keys."""
        return f"{self._prefix}principal:{{{texts.hashed(principal)}}}"

    def bumps(self, scope: str) -> str:
        """Return the key of a scope's bumps, in the slot of `versions`: both change together."""
        return f"{self._prefix}bumps:{{stamps}}:{texts.hashed(scope)}"

    def pattern(self, name_of: Callable[[str], str]) -> str:
        """Return the SCAN pattern for this kind of key."""
        return literally(name_of("")).replace("{}", "{*}")

    def records_from(self, beginning: str) -> str:
        """Return the SCAN pattern for records whose keys begin like this."""
        return self.records_pattern.replace("{*}", f"{{{literally(beginning)}*}}")

    @property
    def pattern_of_tenants(self) -> str:
        """Return the SCAN pattern for the keys of all applications: see `Config.store_prefix`."""
        return literally(self._prefix) + "@*"

    def tenant_of(self, name: bytes) -> str | None:
        """Return the application that a key belongs to."""
        found = _TENANT.match(name, len(self._prefix.encode()))
        return None if found is None else found[1].decode()

    @property
    def pattern_of_all(self) -> str:
        """Return the ACL pattern for all our keys."""
        return literally(self._prefix) + "*"

    def one_of_each(self) -> list[str]:
        """Return one unused key of each kind, that of a record first."""
        of_sessions = (self.record, self.lock, self.holders, self.claim, self.set_aside)
        of_others = (self.context, self.principal, self.bumps)
        lists = (self.versions, self.quarantine, self.refreshes, *self.endings)
        return [*(name_of("rights") for name_of in (*of_sessions, *of_others)), *lists]

    def in_braces(self, name: bytes) -> str:
        """Return the session's key, or the other text that a key was made of."""
        return name.rpartition(b"{")[2][:-1].decode("utf-8", "replace")


def encode(version: int, payload: bytes, expires_at: float) -> bytes:
    """Return a record's bytes: format, version (8 bytes), expiry (8 bytes), payload; big-endian."""
    return _pack_header(FORMAT, version, expires_at) + payload


def head(version: int, expires_at: float) -> bytes:
    """Return the beginning of a record of this version and expiry."""
    return _pack_header(FORMAT, version, expires_at)


def stamp(version: int) -> bytes:
    """Return the beginning of every record of this version."""
    return _pack_stamp(FORMAT, version)


def decode(key: str, value: bytes) -> Record:
    """Return the record. Raises `CorruptRecord`; `UnsupportedFormat` for a newer release's."""
    if len(value) >= _HEADER_SIZE:
        mark, version, expires_at = _unpack_header(value)
        if mark == FORMAT and version and 0.0 < expires_at < _NEVER:
            return Record(version, value[_HEADER_SIZE:], expires_at)
    if value and value[0] != FORMAT and value[0] & _OURS == _OURS:
        raise UnsupportedFormat(
            f"a session record has format {value[0] & 7} and this release knows {FORMAT & 7}: "
            "let every worker run the newest release",
            operation="load",
            key=short_key(key),
        )
    raise CorruptRecord("it does not begin like a record")


def ttl(expires_at: float) -> int:
    """Return the milliseconds from now, rounded up; zero or less is the past."""
    left = expires_at - wall_clock()
    return math.ceil((left if left < _LONGEST_TTL else _LONGEST_TTL) * 1000)
