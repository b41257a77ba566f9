"""One mutex per session, in a SQL table."""

from __future__ import annotations

import logging
import random
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, update

from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.sql.schema import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine import SqlEngine

_log = logging.getLogger("wsgi_sessions.stores.sql")
_C = locks.c


class SqlLocks:
    """`SessionLocks`: a row with a random token, taken if it is free, freed by its holder alone.

    No advisory lock of the database, which would keep a connection for as long as the block takes,
    and is lost with it behind a pooler such as PgBouncer.

    By the database's clock the lock is free after `ttl` seconds, so a block that takes longer no
    longer keeps others out. That is logged when the block ends.
    """

    def __init__(
        self,
        engine: SqlEngine,
        ttl: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._ttl = ttl
        self._clock = clock

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[None]:
        token = secrets.token_hex(16)
        try:
            self._acquire(key, token, timeout)
        except StoreUnavailable:
            # If it was taken for us and we were not told, its time to live frees it.
            raise
        except BaseException:
            # Interrupted (gevent.Timeout, SystemExit), perhaps after the taking.
            self._free(key, token)
            raise
        try:
            yield
        finally:
            self._release(key, token)

    def _acquire(self, key: str, token: str, timeout: float) -> None:
        deadline = self._clock() + timeout
        while not self._take(key, token):
            left = deadline - self._clock()
            if left <= 0:
                raise LockTimeout(
                    f"the lock of session {short_key(key)} was held by another request for "
                    f"{timeout:g} s; try again",
                    operation="lock",
                    key=short_key(key),
                )
            # Jitter keeps those who wait from asking in step.
            time.sleep(min(left, random.uniform(0.005, 0.02)))  # noqa: S311 - nothing secret

    def _take(self, key: str, token: str) -> bool:
        """Taking what one has already is a success: the answer to a first try may have been
        lost."""
        expiry = self._engine.now + self._ttl
        insert = self._engine.insert_if_absent(
            locks, {"key": key, "holder": token, "expires_at": expiry}
        )
        free = or_(_C.holder == token, _C.expires_at <= self._engine.now)
        take_over = update(locks).where(_C.key == key, free)
        take_over = take_over.values(holder=token, expires_at=expiry)

        def work(connection: Connection) -> bool:
            if connection.execute(insert).rowcount > 0:
                return True
            return connection.execute(take_over).rowcount > 0

        return self._engine.single("lock", key, work)

    def _free(self, key: str, token: str) -> bool:
        statement = delete(locks).where(_C.key == key, _C.holder == token)
        return self._engine.single("unlock", key, lambda c: c.execute(statement)).rowcount > 0

    def _release(self, key: str, token: str) -> None:
        """Never raises for a fault: what the block did is done, and the lock expires by itself."""
        try:
            freed = self._free(key, token)
        except StoreUnavailable as error:
            _log.warning("the lock of session %s stays until it expires: %s", short_key(key), error)
            return
        if not freed:
            _log.warning(
                "the lock of session %s was lost before its block ended: another request may have "
                "run at the same time; the block took longer than %g s, or the answer to its "
                "release was lost",
                short_key(key),
                self._ttl,
            )
