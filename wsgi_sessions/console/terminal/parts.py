"""The parts of the terminal's page: the same numbers as on the console's."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsgi_sessions.console.numbers.collected import TITLES, Untold
from wsgi_sessions.console.panels.conflicts import both
from wsgi_sessions.console.panels.leases import NOT_KEPT, ROLES, in_use
from wsgi_sessions.console.panels.store import hours, latency
from wsgi_sessions.console.terminal.pieces import (
    BAD,
    GOOD,
    QUIET,
    WARNING,
    Sheet,
    bars,
    facts,
    line,
    table,
    titled,
)
from wsgi_sessions.operations.words import ago, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import RenderableType
    from rich.text import Text

    from wsgi_sessions.console.numbers.conflicts import ConflictNumbers
    from wsgi_sessions.console.numbers.ends import EndNumbers
    from wsgi_sessions.console.numbers.heavy import HeavyNumbers
    from wsgi_sessions.console.numbers.leases import UseNumbers
    from wsgi_sessions.console.numbers.live import LiveNumbers
    from wsgi_sessions.console.numbers.store import StoreNumbers
    from wsgi_sessions.console.numbers.versions import VersionNumbers

    Pieces = Iterator[RenderableType]

NOTHING = "-"
_LABELLED = 50


def part(name: str, numbers: Any, sheet: Sheet) -> list[RenderableType]:
    """Return one part of the page, under its title."""
    if isinstance(numbers, Untold):
        return titled(TITLES[name], line(numbers.error, BAD if numbers.is_fault else QUIET))
    return titled(TITLES[name], *_PARTS[name](numbers, sheet))


def _store(numbers: StoreNumbers, _: Sheet) -> Pieces:
    if numbers.error is None:
        yield line("Answers.", GOOD)
    else:
        yield line(f"Not healthy: {numbers.error}", BAD)
    yield facts(_of_store(numbers))
    for warning in numbers.warnings:
        yield line(warning, WARNING)


def _of_store(numbers: StoreNumbers) -> Iterator[tuple[str, object]]:
    yield "store", f"{numbers.backend}, {numbers.url}"
    yield "application", numbers.application or "not named"
    if numbers.latency_ms:
        yield "answered in", latency(numbers)
    yield "lifetimes", f"{hours(numbers.idle_lifetime)} unused, {hours(numbers.absolute_lifetime)}"
    if numbers.quarantined:
        yield "quarantine", line(f"{numbers.quarantined} damaged records set aside", WARNING)


def _live(numbers: LiveNumbers, sheet: Sheet) -> Pieces:
    yield line(numbers.basis.number(), GOOD)
    yield line(numbers.basis.in_words(), QUIET)
    yield facts(_of_live(numbers, sheet))


def _of_live(numbers: LiveNumbers, sheet: Sheet) -> Iterator[tuple[str, object]]:
    if numbers.median_size is None or numbers.median_idle is None:
        return
    yield "logged in", f"{100 * numbers.logged_in / numbers.basis.read:.0f} %"
    half = f"{numbers.median_size:,d} bytes half of them"
    yield "size", f"{half}, {numbers.largest_size:,d} the largest"
    yield "last used", f"half of them within {span(numbers.median_idle)}"
    begun = [*map(sum, zip(numbers.begun.logged_in, numbers.begun.not_logged_in, strict=True))]
    yield "begun", _begun(begun, sheet)
    if numbers.growth is not None:
        yield "grown", f"{numbers.growth.sessions:+,d} in {span(numbers.growth.seconds)}"


def _begun(numbers: list[int], sheet: Sheet) -> Text:
    drawn, label = bars(numbers, sheet), f" {sum(numbers):,d} in 24 h"
    return drawn.append(label, QUIET) if sheet.width >= _LABELLED else drawn


def _ends(numbers: EndNumbers | None, sheet: Sheet) -> Pieces:
    if numbers is None:
        yield line(f"{NOT_KEPT} The log has each end as 'ended', with its reason.", QUIET)
        return
    if not numbers.read:
        yield line(f"None in the last {span(numbers.kept_seconds)}.", QUIET)
        return
    yield line(numbers.in_words(), QUIET)
    yield table(
        sheet,
        ("<reason", ">hour", ">day", ">all kept", "?24 hours"),
        (
            (
                each.why,
                *(f"{n:,d}" for n in (each.last_hour, each.last_day, each.kept)),
                bars(numbers.by_hour.get(each.why, []), sheet),
            )
            for each in numbers.by_reason
        ),
    )


def _conflicts(numbers: ConflictNumbers, sheet: Sheet) -> Pieces:
    if numbers.error is not None:
        yield line(numbers.error, WARNING)
    elif numbers.counted is None:
        yield line("By key: with --metrics URL of WSGI_SESSIONS_METRICS_PATH.", QUIET)
    elif not numbers.counted:
        yield line("No conflict since the server started.")
    else:
        rows = ((e.key, e.kind, f"{e.times:,d}", e.remedy or NOTHING) for e in numbers.counted)
        yield table(sheet, ("key", "kind", ">times", "use"), rows)
    if not numbers.overlaps:
        yield line("No two requests wrote to one session at the same time.")
        return
    pairs = ((f"{each.sessions:,d}", both(*each.routes)) for each in numbers.overlaps)
    yield table(sheet, (">sessions", "routes that wrote within a second"), pairs)


def _heavy(numbers: HeavyNumbers, sheet: Sheet) -> Pieces:
    if not numbers.largest:
        yield line("There is no session.", QUIET)
        return
    yield table(
        sheet,
        ("<largest", ">bytes", "user", ">last used"),
        (
            (each.key, f"{each.size:,d}", each.user, ago(each.last_used_at, numbers.at))
            for each in numbers.largest
        ),
    )
    yield table(
        sheet,
        ("<most written", ">commits", ">per hour", "last route"),
        (
            (each.key, f"{each.commits:,d}", f"{each.per_hour:,.3g}", each.route or NOTHING)
            for each in numbers.most_written
        ),
    )


def _leases(numbers: UseNumbers | None, sheet: Sheet) -> Pieces:
    if numbers is None:
        yield line(NOT_KEPT, QUIET)
    elif not numbers.leases:
        yield line("No session is in use.", QUIET)
    else:
        yield line(in_use(numbers))
        rows = ((e.key, ROLES[e.role], f"{e.seconds:.0f} s") for e in numbers.leases)
        yield table(sheet, ("<session", "used by", ">at most for"), rows)


def _versions(numbers: VersionNumbers, sheet: Sheet) -> Pieces:
    if numbers.kept_in == "nothing":
        yield line(NOT_KEPT, QUIET)
    elif numbers.kept_in == "each process":
        yield line("Kept in each server process, and visible only there.", QUIET)
    elif not any(each.version for each in numbers.scopes):
        yield line("No scope was ever bumped.", QUIET)
    else:
        yield table(
            sheet,
            ("scope", ">version", ">last bump", ">behind"),
            (
                (
                    each.scope,
                    each.version,
                    NOTHING if each.last_bump_at is None else ago(each.last_bump_at, numbers.at),
                    f"{each.behind:,d} of {each.sessions:,d}" if each.sessions else NOTHING,
                )
                for each in numbers.scopes
            ),
        )


_PARTS: Mapping[str, Callable[[Any, Sheet], Pieces]] = MappingProxyType(
    {
        "store": _store,
        "live": _live,
        "ends": _ends,
        "conflicts": _conflicts,
        "heavy": _heavy,
        "leases": _leases,
        "versions": _versions,
    }
)
