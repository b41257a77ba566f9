"""Stores with one bug each, named for the test of the contract that has to find it.

Each is a store in a dictionary of which one operation is wrong.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shelf_store import (
    DictContexts,
    DictEndings,
    DictIndex,
    DictLeasedLoading,
    DictLeases,
    DictLocks,
    DictQuarantine,
    DictRefreshes,
    DictSessions,
    DictStamps,
    InMemory,
    OnShelf,
)

from wsgi_sessions import (
    Backend,
    Context,
    EndTrace,
    Held,
    LeaseInfo,
    Record,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    VersionConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from shelf_store import Shelf


# -- records ---------------------------------------------------------------------------------------


class FindsWhatIsNotThere(DictSessions):
    def load(self, key: str) -> Record | None:
        return super().load(key) or Record(1, b"", self.clock() + 100)


class LosesZeroBytes(DictSessions):
    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        super().create(key, payload.strip(b"\0"), expires_at)


class CreateReplaces(DictSessions):
    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        with self.shelf.changing() as items:
            items[key] = (1, payload, expires_at)


class Saving(DictSessions):
    """Save, in three steps that bugs are planted in."""

    def save(self, key: str, payload: bytes, expires_at: float, **more: Any) -> int:
        with self.shelf.changing() as items:
            current = self.checked(items, key, more["expected_version"])
            return self.store(items, key, current, (payload, expires_at))

    def checked(self, items: dict[str, Any], key: str, expected: int) -> Record:
        current = self.live(items, key)
        if current is None:
            raise SessionGone(key[:10])
        if current.version != expected:
            raise VersionConflict(current)
        return current

    def store(
        self, items: dict[str, Any], key: str, current: Record, new: tuple[bytes, float]
    ) -> int:
        items[key] = (current.version + 1, *new)
        return current.version + 1


class SaveKeepsTheExpiry(Saving):
    def store(self, items: Any, key: str, current: Record, new: Any) -> int:
        return super().store(items, key, current, (new[0], current.expires_at))


class SaveNeverShortens(Saving):
    def store(self, items: Any, key: str, current: Record, new: Any) -> int:
        later = max(new[1], current.expires_at)
        return super().store(items, key, current, (new[0], later))


class CutsLargePayloads(Saving):
    def store(self, items: Any, key: str, current: Record, new: Any) -> int:
        return super().store(items, key, current, (new[0][:65535], new[1]))


class TakesAnyNewerVersion(Saving):
    def checked(self, items: dict[str, Any], key: str, expected: int) -> Record:
        current = self.live(items, key)
        return super().checked(items, key, min(expected, current.version if current else 0))


class SaveCreates(Saving):
    def checked(self, items: dict[str, Any], key: str, expected: int) -> Record:
        if self.live(items, key) is None:
            items[key] = (expected, b"", self.clock() + 100)
        return super().checked(items, key, expected)


class ReturnsFromTheDead(DictSessions):
    def delete(self, key: str) -> None:
        with self.shelf.changing() as items:
            if key in items:
                items[key] = (*items[key][:2], 0.0)

    def touch(self, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            if key in items:
                items[key] = (*items[key][:2], expires_at)


class DeletesOnce(DictSessions):
    def delete(self, key: str) -> None:
        with self.shelf.changing() as items:
            del items[key]


class Touching(DictSessions):
    """Touch of a live record, however wrong."""

    def touch(self, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            current = self.live(items, key)
            if current is not None:
                items[key] = self.touched(current, expires_at)

    def touched(self, current: Record, expires_at: float) -> tuple[int, bytes, float]:
        return current.version, current.payload, max(expires_at, current.expires_at)


class TouchCountsUp(Touching):
    def touched(self, current: Record, expires_at: float) -> tuple[int, bytes, float]:
        version, *rest = super().touched(current, expires_at)
        return version + 1, *rest  # type: ignore[return-value]


class TouchShortens(Touching):
    def touched(self, current: Record, expires_at: float) -> tuple[int, bytes, float]:
        return current.version, current.payload, expires_at


class TouchCreates(DictSessions):
    def touch(self, key: str, expires_at: float) -> None:
        super().touch(key, expires_at)
        with self.shelf.changing() as items:
            items.setdefault(key, (1, b"", expires_at))


class MixesRecords(DictSessions):
    def load(self, key: str) -> Record | None:
        with self.shelf.reading() as items:
            near = [other for other in items if other[0] == key[0]]
            return self.live(items, near[0]) if near else None


class EndsWhenClosed(DictSessions):
    is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        if self.is_closed:
            raise StoreUnavailable("closed")
        super().create(key, payload, expires_at)


# -- expiry ----------------------------------------------------------------------------------------


class ServesTheExpired(DictSessions):
    def load(self, key: str) -> Record | None:
        with self.shelf.reading() as items:
            return Record(*items[key]) if key in items else None


class TouchRevives(DictSessions):
    def touch(self, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            if key in items and items[key][2] < expires_at:
                items[key] = (*items[key][:2], expires_at)


class KeepsPlacesOfTheExpired(DictSessions):
    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        with self.shelf.reading() as items:
            if key in items:
                raise SessionExists(key[:10])
        super().create(key, payload, expires_at)


class GivesALeastLifetime(DictSessions):
    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        super().create(key, payload, max(expires_at, self.clock() + 1))


class PurgesWithoutLimit(DictSessions):
    def delete_expired(self, limit: int, told: Any = None) -> int:
        return super().delete_expired(1000, told)


class CountsNoExpired(DictSessions):
    def count_expired(self) -> int:
        return 0


class SearchesWithinKeys(DictSessions):
    def keys_from(self, beginning: str, limit: int) -> list[str]:
        with self.shelf.reading() as items:
            return [key for key in items if beginning[1:] in key][:limit]


class PurgesTheLiving(DictSessions):
    def delete_expired(self, limit: int, told: Any = None) -> int:
        with self.shelf.changing() as items:
            keys = list(items)[:limit]
            for key in keys:
                del items[key]
            return len(keys)


# -- abilities -------------------------------------------------------------------------------------


class CountsTheDead(DictSessions):
    created = 0

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        super().create(key, payload, expires_at)
        self.created += 1

    def count(self) -> int:
        return self.created


class SlowClock:
    def now(self) -> float:
        return time.time() - 3600


class FindsEverybody(DictIndex):
    def keys_of(self, principal: str) -> list[str]:
        with self.shelf.reading() as items:
            return [key for found in items.values() for key in found]


class RemovesOnce(DictIndex):
    def remove(self, principal: str, key: str) -> None:
        with self.shelf.changing() as items:
            del items[ascii(principal)][key]


class TakesPatterns(DictIndex):
    def keys_of(self, principal: str) -> list[str]:
        with self.shelf.reading() as items:
            names = list(items) if principal == "*" else [ascii(principal)]
            return [key for name in names for key in items.get(name, ())]


class ShowsTheExpired(DictIndex):
    def keys_of(self, principal: str) -> list[str]:
        with self.shelf.reading() as items:
            return list(items.get(ascii(principal), ()))


class KeepsTheLatest(DictIndex):
    def add(self, principal: str, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            items[ascii(principal)] = {key: expires_at}


class OnlyCopies(DictQuarantine):
    def set_aside(self, key: str, version: int, reason: str) -> None:
        with self.sessions.shelf.reading() as items, self.aside.changing() as aside:
            if key in items and items[key][0] == version:
                aside[key] = items[key]


class TakesAnyVersion(DictQuarantine):
    def set_aside(self, key: str, version: int, reason: str) -> None:
        current = self.sessions.load(key)
        if current is not None:
            super().set_aside(key, current.version, reason)


class KeepsAll(DictQuarantine):
    most = 10**9


class LetsEverybodyIn(DictLocks):
    def take(self, key: str) -> bool:
        return True


class OneForAll(DictLocks):
    def take(self, key: str) -> bool:
        return super().take("all")

    def free(self, key: str) -> None:
        super().free("all")


class StaysLocked(DictLocks):
    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        with super().hold(key, timeout) as held:
            try:
                yield held
            except ZeroDivisionError:
                self.held.add(key + "!")
                raise

    def take(self, key: str) -> bool:
        return key + "!" not in self.held and super().take(key)


class DoesNotWait(DictLocks):
    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        with super().hold(key, 0.0) as held:
            yield held


# -- races -----------------------------------------------------------------------------------------


class ComparesTooEarly(DictSessions):
    def save(self, key: str, payload: bytes, expires_at: float, **more: Any) -> int:
        current = self.load(key)
        if current is None:
            raise SessionGone(key[:10])
        if current.version != more["expected_version"]:
            raise VersionConflict(current)
        time.sleep(0.001)
        with self.shelf.changing() as items:
            items[key] = (current.version + 1, payload, expires_at)
        return current.version + 1


class GoesByWhatItKnows(DictSessions):
    """Each process reads a record once."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.known: dict[str, Record] = {}

    def load(self, key: str) -> Record | None:
        if key not in self.known:
            found = super().load(key)
            if found is None:
                return None
            self.known[key] = found
        return self.known[key]

    def save(self, key: str, payload: bytes, expires_at: float, **more: Any) -> int:
        current = self.load(key)
        assert current is not None
        if current.version != more["expected_version"]:
            raise VersionConflict(current)
        self.known[key] = Record(current.version + 1, payload, expires_at)
        with self.shelf.changing() as items:
            items[key] = (current.version + 1, payload, expires_at)
        return current.version + 1


class WritesThePayloadLater(Saving):
    """With the next save; until then, this process alone knows it."""

    pending = b""

    def store(self, items: Any, key: str, current: Record, new: Any) -> int:
        before, self.pending = self.pending, new[0]
        return super().store(items, key, current, (before, new[1]))


class ServesAnOldOne(DictSessions):
    loads = 0
    first: Record | None = None

    def load(self, key: str) -> Record | None:
        found = super().load(key)
        self.first = self.first or found
        self.loads += 1
        return self.first if self.loads % 3 == 0 else found


class BringsBack(DictSessions):
    def save(self, key: str, payload: bytes, expires_at: float, **more: Any) -> int:
        try:
            return super().save(key, payload, expires_at, **more)
        except SessionGone:
            self.create(key, payload, expires_at)
            raise


# -- guarantees ------------------------------------------------------------------------------------


class ComparesNothing(Saving):
    def checked(self, items: dict[str, Any], key: str, expected: int) -> Record:
        current = self.live(items, key)
        return super().checked(items, key, current.version if current else expected)


class ConflictsWithoutTheRecord(Saving):
    def checked(self, items: dict[str, Any], key: str, expected: int) -> Record:
        try:
            return super().checked(items, key, expected)
        except VersionConflict as conflict:
            current = conflict.current
            raise VersionConflict(Record(current.version, b"", current.expires_at)) from None


class ServesItsCache(DictSessions):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.cache: dict[str, Record | None] = {}

    def load(self, key: str) -> Record | None:
        return self.cache.setdefault(key, super().load(key))


class LosesTheFirstRead(DictSessions):
    loads = 0

    def load(self, key: str) -> Record | None:
        self.loads += 1
        return None if self.loads == 1 else super().load(key)


class SavesNothing(Saving):
    def store(self, items: Any, key: str, current: Record, new: Any) -> int:
        return current.version + 1


# -- version stamps --------------------------------------------------------------------------------


class BeginsAtOne(DictStamps):
    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        return {scope: version or 1 for scope, version in super().current(scopes).items()}


class GoesBackToLeast(DictStamps):
    def bump(self, scope: str, *, least: int = 0) -> int:
        with self.shelf.changing() as items:
            items.setdefault(ascii(scope), []).append((least - 1, 0.0)) if least else None
        return super().bump(scope)


class ScopesArePaths(DictStamps):
    def bump(self, scope: str, *, least: int = 0) -> int:
        return super().bump(scope[:5], least=least)


class KeepsAllBumps(DictStamps):
    kept = 10**9


class StampsAmongSessions(DictSessions):
    def keys(self) -> Iterator[str]:
        return iter([*super().keys(), "global"])


class BumpsOnItsOwn(DictStamps):
    """Each process counts from what it read first."""

    known: int | None = None

    def bump(self, scope: str, *, least: int = 0) -> int:
        if self.known is None:
            self.known = self.current([scope])[scope]
        self.known = max(self.known + 1, least)
        with self.shelf.changing() as items:
            items[ascii(scope)] = [(self.known, time.time())]
        return self.known


# -- contexts --------------------------------------------------------------------------------------


class RemembersSomething(DictContexts):
    def get(self, principal: str, name: str) -> Context | None:
        return super().get(principal, name) or Context(b"", 0.0)


class RemembersTheFirst(DictContexts):
    def set(self, principal: str, name: str, context: Context) -> None:
        super().add(principal, name, context)


class AddingReplaces(DictContexts):
    def add(self, principal: str, name: str, context: Context) -> bool:
        is_new = self.get(principal, name) is None
        self.set(principal, name, context)
        return is_new


class CutsContexts(DictContexts):
    def set(self, principal: str, name: str, context: Context) -> None:
        super().set(principal, name, context._replace(value=context.value[:65535]))


class ClearsThePrincipal(DictContexts):
    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        for other, each, _ in self.items():
            if other == principal:
                super().clear(other, each, expected)


class ClearsAnything(DictContexts):
    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        super().clear(principal, name)


class StripsNames(DictContexts):
    def set(self, principal: str, name: str, context: Context) -> None:
        super().set(principal.strip("./*"), name, context)


class RunsTogether(DictContexts):
    def key(self, principal: str, name: str) -> str:
        return ascii(principal + name)


class ListsSome(DictContexts):
    def items(self) -> Iterator[tuple[str, str, Context]]:
        return iter(list(super().items())[:50])


class ContextsAmongSessions(DictSessions):
    def count(self) -> int:
        return super().count() + 1


class SelectsForItself(DictContexts):
    """What a process sets, it alone sees."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.mine: dict[str, Context] = {}

    def get(self, principal: str, name: str) -> Context | None:
        mine = self.mine.get(self.key(principal, name))
        return mine or super().get(principal, name)

    def set(self, principal: str, name: str, context: Context) -> None:
        self.mine[self.key(principal, name)] = context
        super().set(principal, name, context)


class ClearsBeforeItSets(DictContexts):
    def set(self, principal: str, name: str, context: Context) -> None:
        super().clear(principal, name)
        time.sleep(0.001)
        super().set(principal, name, context)


# -- leases ----------------------------------------------------------------------------------------


class CountsClaims(DictLeases):
    def holders(self, key: str) -> int:
        with self.shelf.reading() as items:
            return len(self.live(items, key))


class ClaimsAnyway(DictLeases):
    def claim(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            items[key] = {**self.live(items, key), holder: ("claim", time.time() + ttl)}
            return True


class FreesWithTheFirst(DictLeases):
    def release(self, key: str, holder: str) -> None:
        with self.shelf.changing() as items:
            items.pop(key, None)


class AcquiresAnyway(DictLeases):
    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            items[key] = {**self.live(items, key), holder: ("holder", time.time() + ttl)}
            return True


class ListsHolders(DictLeases):
    def leases(self) -> Iterator[LeaseInfo]:
        return (lease for lease in super().leases() if lease.role == "holder")


class ListsTheExpired(DictLeases):
    """The one that ends first, though it has ended."""

    def leases(self) -> Iterator[LeaseInfo]:
        with self.shelf.reading() as items:
            every = [
                (until, key, holder) for key in items for holder, (_, until) in items[key].items()
            ]
            return iter(
                [LeaseInfo(key, "holder", holder, 0.0) for _, key, holder in sorted(every)[:1]]
            )


class LeasesOneThing(DictLeases):
    def live(self, items: dict[str, Any], key: str) -> dict[str, tuple[str, float]]:
        return {name: each for other in items for name, each in super().live(items, other).items()}


class ReleasesOnce(DictLeases):
    def release(self, key: str, holder: str) -> None:
        with self.shelf.changing() as items:
            del items[key][holder]


class CountsDeadHolders(DictLeases):
    dead = 0

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        self.dead += 1
        return super().acquire(key, holder, ttl)

    def holders(self, key: str) -> int:
        return self.dead


class StumblesOverDeadClaims(DictLeases):
    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.reading() as items:
            if len(items.get(key, {})) > len(self.live(items, key)):
                raise StoreUnavailable("a claim has expired")
        return super().acquire(key, holder, ttl)


class RenewsNothing(DictLeases):
    def renew(self, key: str, holder: str, ttl: float) -> bool:
        return super().renew(key, holder, 0.01)


class RenewsHoldersOnly(DictLeases):
    def renew(self, key: str, holder: str, ttl: float) -> bool:
        return self.holders(key) == 0 or super().renew(key, holder, ttl)


class RenewsTheLost(DictLeases):
    def renew(self, key: str, holder: str, ttl: float) -> bool:
        return super().renew(key, holder, ttl) or self.acquire(key, holder, ttl)


class ReleasesAll(DictLeases):
    def release(self, key: str, holder: str) -> None:
        with self.shelf.changing() as items:
            items[key] = {}


class ReleasesAnyClaim(DictLeases):
    def release(self, key: str, holder: str) -> None:
        super().release(key, holder)
        with self.shelf.changing() as items:
            items[key] = {n: each for n, each in items[key].items() if each[0] != "claim"}


class ProlongsOthers(DictLeases):
    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            names = [*self.live(items, key), holder]
            items[key] = dict.fromkeys(names, ("holder", time.time() + ttl))
            return True

    def holders(self, key: str) -> int:
        return min(1, super().holders(key))


class LooksBeforeItClaims(DictLeases):
    def claim(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.reading() as items:
            is_free = not self.live(items, key)
        time.sleep(0.01)
        if is_free:
            with self.shelf.changing() as items:
                items[key] = {holder: ("claim", time.time() + ttl)}
        return is_free


class LetsClaimsMeetHolders(ClaimsAnyway, AcquiresAnyway):
    pass


class LoadsWithoutLease(DictLeasedLoading):
    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        record = self.sessions.load(key)
        return record, record is not None


# -- refreshes -------------------------------------------------------------------------------------


class HasNoOrder(DictRefreshes):
    def due(self, now: float, limit: int) -> list[str]:
        with self.shelf.reading() as items:
            return [key for key in items if items[key] <= now][:limit]


class KeepsTheEarlier(DictRefreshes):
    def schedule(self, key: str, due_at: float) -> None:
        with self.shelf.changing() as items:
            items[key] = min(due_at, items.get(key, due_at))


class RemovesARefreshOnce(DictRefreshes):
    def remove(self, key: str) -> None:
        with self.shelf.changing() as items:
            del items[key]


class LosesSchedules(DictRefreshes):
    def schedule(self, key: str, due_at: float) -> None:
        with self.shelf.reading() as items:
            copied = {**items, key: due_at}
        time.sleep(0.001)
        with self.shelf.changing() as items:
            items.clear()
            items.update(copied)


class SchedulesForItself(DictRefreshes):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(InMemory())


# -- traces of ends --------------------------------------------------------------------------------


class TellsTheKeyOnly(DictSessions):
    def delete_expired(self, limit: int, told: Any = None) -> int:
        return super().delete_expired(limit, lambda key, _: told(key, Record(1, b"", 1.0)))


class ShowsTheLiving(DictSessions):
    def remains(self, key: str) -> Record | None:
        return super().remains(key) or self.load(key)


class KeepsTheReasonOnly(DictEndings):
    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        super().keep([EndTrace(t.key, t.why, t.at) for t in traces], seconds)


class KeepsTheFirst(DictEndings):
    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        super().keep([t for t in traces if self.trace_of(t.key) is None], seconds)


class FindsAnywhere(DictEndings):
    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        with self.shelf.reading() as items:
            return [items[key] for key in items if beginning.strip("%") in key][:limit]


class InAnyOrder(DictEndings):
    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        with self.shelf.reading() as items:
            return [trace for trace in items.values() if trace.user == user][:limit]


class TrimsToANumber(DictEndings):
    def trim(self, before: float, most: int) -> int:
        return super().trim(0.0, most)


class TrimsByAge(DictEndings):
    def trim(self, before: float, most: int) -> int:
        return super().trim(before, 1000)


class BoundsAllTogether(DictEndings):
    def trim(self, before: float, most: int) -> int:
        with self.shelf.changing() as items:
            oldest = sorted(items, key=lambda key: items[key].at)
            for key in oldest[: max(0, len(items) - most // 2)]:
                del items[key]
            return 2


class LosesTraces(DictEndings):
    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        with self.shelf.reading() as items:
            copied = {**items, **{trace.key: trace for trace in traces}}
        time.sleep(0.001)
        with self.shelf.changing() as items:
            items.clear()
            items.update(copied)


class TracesAmongSessions(DictEndings):
    sessions: DictSessions

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        super().keep(traces, seconds)
        for trace in traces:
            self.sessions.create(trace.key, b"", trace.at + 100)


class ForgetsWithTheSession(DictSessions):
    endings: DictEndings

    def delete(self, key: str) -> None:
        super().delete(key)
        with self.endings.shelf.changing() as items:
            items.pop(key, None)


class KeepsForItself(DictEndings):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(InMemory())


MUTANTS: dict[str, type] = {
    "nothing_is_there_at_first": FindsWhatIsNotThere,
    "load_returns_what_create_stored": LosesZeroBytes,
    "create_never_replaces": CreateReplaces,
    "save_replaces_payload_and_expiry_and_counts_up": SaveKeepsTheExpiry,
    "save_may_shorten_the_expiry": SaveNeverShortens,
    "payloads_of_every_size_come_back": CutsLargePayloads,
    "save_at_another_version_is_a_conflict_with_the_current_record": TakesAnyNewerVersion,
    "save_never_creates": SaveCreates,
    "a_deleted_record_stays_deleted": ReturnsFromTheDead,
    "delete_is_idempotent": DeletesOnce,
    "touch_moves_the_expiry_and_nothing_else": TouchCountsUp,
    "touch_never_shortens": TouchShortens,
    "touch_never_creates": TouchCreates,
    "records_do_not_mix": MixesRecords,
    "a_closed_store_opens_again": EndsWhenClosed,
    "an_expired_record_is_none": ServesTheExpired,
    "an_expired_record_cannot_be_saved_or_touched": TouchRevives,
    "create_replaces_an_expired_record": KeepsPlacesOfTheExpired,
    "an_expiry_in_the_past_is_gone_at_once": GivesALeastLifetime,
    "only_what_has_expired_is_deleted_in_chunks": PurgesWithoutLimit,
    "expired_records_are_counted_where_they_stay": CountsNoExpired,
    "a_sweep_removes_no_live_session": PurgesTheLiving,
    "iteration_and_count_see_live_sessions_only": CountsTheDead,
    "records_are_found_by_the_beginning_of_their_keys": SearchesWithinKeys,
    "the_clock_of_a_store_tells_the_time": SlowClock,
    "the_index_finds_the_sessions_of_a_principal": FindsEverybody,
    "an_index_entry_is_added_and_removed_once": RemovesOnce,
    "a_principal_is_never_taken_for_a_path_or_a_pattern": TakesPatterns,
    "an_index_entry_that_has_expired_is_not_shown": ShowsTheExpired,
    "a_record_set_aside_is_gone_and_counted": OnlyCopies,
    "a_record_at_another_version_is_not_set_aside": TakesAnyVersion,
    "the_quarantine_is_bounded": KeepsAll,
    "a_lock_keeps_others_out": LetsEverybodyIn,
    "a_lock_is_of_one_session": OneForAll,
    "a_lock_is_free_after_an_error": StaysLocked,
    "threads_take_turns_at_a_lock": DoesNotWait,
    "threads_racing_on_one_key_lose_nothing": ComparesTooEarly,
    "processes_racing_on_one_key_lose_nothing": GoesByWhatItKnows,
    "a_process_that_is_killed_leaves_a_whole_record": WritesThePayloadLater,
    "a_reader_sees_no_half_record_and_no_older_one": ServesAnOldOne,
    "delete_is_final_whoever_saves_at_the_same_time": BringsBack,
    "changes_of_overlapping_requests_all_stay": ComparesNothing,
    "a_request_that_only_reads_undoes_nothing": ServesItsCache,
    "an_increment_that_was_sent_twice_counts_once": ConflictsWithoutTheRecord,
    "a_session_that_was_ended_is_not_brought_back": SaveCreates,
    "a_fault_is_not_taken_for_an_empty_session": LosesTheFirstRead,
    "a_save_that_fails_leaves_the_session_as_it_was": SavesNothing,
    "a_user_is_logged_out_everywhere": KeepsTheLatest,
    "a_scope_begins_at_zero_and_grows_by_one": BeginsAtOne,
    "a_bump_reaches_at_least_the_requested_version": GoesBackToLeast,
    "a_scope_is_any_text_and_never_a_path_or_a_pattern": ScopesArePaths,
    "the_history_is_newest_first_and_bounded": KeepsAllBumps,
    "stamps_are_not_sessions": StampsAmongSessions,
    "bumps_of_several_processes_all_count": BumpsOnItsOwn,
    "nothing_is_remembered_at_first": RemembersSomething,
    "the_value_set_last_is_remembered": RemembersTheFirst,
    "adding_replaces_nothing": AddingReplaces,
    "values_of_every_size_come_back": CutsContexts,
    "clearing_is_idempotent_and_of_one_context": ClearsThePrincipal,
    "a_stale_context_is_cleared_only_if_it_is_still_there": ClearsAnything,
    "principals_and_names_are_any_text": StripsNames,
    "a_principal_and_a_name_are_not_run_together": RunsTogether,
    "all_are_listed": ListsSome,
    "contexts_are_not_sessions": ContextsAmongSessions,
    "another_process_selects": SelectsForItself,
    "a_reader_sees_one_whole_context": ClearsBeforeItSets,
    "an_unused_session_has_no_holder_and_can_be_claimed": CountsClaims,
    "a_holder_keeps_claims_away_until_it_releases": ClaimsAnyway,
    "the_first_of_two_holders_to_end_does_not_free_the_session": FreesWithTheFirst,
    "a_claim_keeps_holders_and_other_claims_out": AcquiresAnyway,
    "all_leases_can_be_looked_at": ListsHolders,
    "an_expired_lease_is_ignored": ListsTheExpired,
    "leases_of_different_sessions_have_nothing_to_do_with_each_other": LeasesOneThing,
    "everything_may_be_sent_twice": ReleasesOnce,
    "a_dead_holder_blocks_for_its_ttl_and_no_longer": CountsDeadHolders,
    "a_dead_claim_blocks_for_its_ttl_and_no_longer": StumblesOverDeadClaims,
    "a_holder_that_renews_outlives_its_ttl": RenewsNothing,
    "a_claim_that_is_renewed_outlives_its_ttl": RenewsHoldersOnly,
    "a_holder_that_lost_its_lease_learns_it_at_its_renewal": RenewsTheLost,
    "releasing_after_the_expiry_changes_nothing_for_the_next": ReleasesAll,
    "releasing_a_claim_after_its_expiry_does_not_free_the_next_claim": ReleasesAnyClaim,
    "a_later_holder_does_not_prolong_an_abandoned_one": ProlongsOthers,
    "many_abandoned_holders_are_purged": CountsDeadHolders,
    "one_of_many_concurrent_claims_succeeds": LooksBeforeItClaims,
    "a_claim_and_a_holder_never_meet": LetsClaimsMeetHolders,
    "loading_with_the_lease_gives_the_same_as_load": LoadsWithoutLease,
    "a_lease_of_another_process_counts": ClaimsAnyway,
    "due_sessions_come_in_the_order_of_their_times": HasNoOrder,
    "a_session_is_due_once_at_the_last_time_it_was_given": KeepsTheEarlier,
    "a_removed_session_is_never_due": RemovesARefreshOnce,
    "schedules_made_at_once_all_count": LosesSchedules,
    "other_backends_see_the_same_queue": SchedulesForItself,
    "each_deleted_record_is_told_once": TellsTheKeyOnly,
    "what_remains_of_an_expired_session_can_be_looked_at": ShowsTheLiving,
    "a_trace_comes_back_as_it_was": KeepsTheReasonOnly,
    "the_trace_kept_last_counts": KeepsTheFirst,
    "traces_are_found_by_the_beginning_of_their_keys": FindsAnywhere,
    "the_traces_of_a_user_come_newest_first": InAnyOrder,
    "old_traces_are_trimmed": TrimsToANumber,
    "only_the_latest_traces_stay": TrimsByAge,
    "a_trace_of_another_kind_takes_the_place_of_the_former": BoundsAllTogether,
    "traces_kept_at_once_all_stay": LosesTraces,
    "traces_are_not_sessions": TracesAmongSessions,
    "a_trace_outlives_a_later_session_of_its_key": ForgetsWithTheSession,
    "other_processes_see_the_trace": KeepsForItself,
}
"""By the test that finds it, without its ``test_``."""
OF_PROCESSES = {
    "processes_racing_on_one_key_lose_nothing",
    "a_process_that_is_killed_leaves_a_whole_record",
    "bumps_of_several_processes_all_count",
    "another_process_selects",
    "a_lease_of_another_process_counts",
    "other_backends_see_the_same_queue",
    "other_processes_see_the_trace",
}
"""Those on a shelf, since they need other processes."""


def open_mutant(
    name: str, folder: Path | None = None, *, clock: Callable[[], float] = time.time
) -> Backend:
    """The mutant that a test has to find: in a dictionary, or on a shelf in a folder."""
    wrong = MUTANTS[name]

    def part(right: type) -> Any:
        return wrong if issubclass(wrong, right) else right

    shelves = [InMemory() if folder is None else OnShelf(folder / n) for n in "abcdefgh"]
    sessions = part(DictSessions)(shelves[0], clock)
    leases = part(DictLeases)(shelves[5])
    endings = part(DictEndings)(shelves[7])
    if isinstance(endings, TracesAmongSessions):
        endings.sessions = sessions
    if isinstance(sessions, ForgetsWithTheSession):
        sessions.endings = endings
    backend = Backend(
        name="mutant",
        sessions=sessions,
        iteration=sessions,
        search=sessions,
        index=part(DictIndex)(shelves[1], clock),
        locks=part(DictLocks)(),
        quarantine=part(DictQuarantine)(sessions, shelves[2]),
        expired=sessions,
        versions=part(DictStamps)(shelves[3]),
        contexts=part(DictContexts)(shelves[4]),
        leases=leases,
        lease_listing=leases,
        leased_loading=part(DictLeasedLoading)(sessions, leases),
        refreshes=part(DictRefreshes)(shelves[6]),
        endings=endings,
    )
    return replace(backend, clock=SlowClock()) if wrong is SlowClock else backend
