"""Twins: several cookies of our name in one request, each well signed, with different ids.

Browsers send them after a deploy that changed the cookie's Domain, Path or Partitioned: to a
browser that is another cookie. They also send them where two applications set one each at ``/`` and
``/admin``, and where another host of the domain has planted one. The signatures do not tell which
one counts, but the store does: the one whose session is alive.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.draft import Snapshot
from wsgi_sessions.core.record.tombstones import Tombstone
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.http.cookies.session_cookie import RULES, Place, PresentedCookie

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.core.loading import Loader
    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

MOST_LOOK_UPS = 3
"""The most cookies of a request whose sessions are looked up; later ones do not count."""
MOST_DELETIONS = 6
"""The most Set-Cookie headers of a response that delete twins: proxies take 4 KB of headers."""
_LONGEST_PATH = 100
_MOST_PREFIXES = 8
_MOST_DOMAINS = 3
_PORT = re.compile(r":\d*\Z")

Side = Literal["before", "behind", "either"]


@texts.shows("side", "is_alive", "is_ours")
class OtherCookie(NamedTuple):
    """A cookie beside the one that counts.

    It says on which side of that one it stands (the order of their paths, longest first: RFC 6265,
    section 5.4), whether its session is alive, and whether this store knows that the session got
    another id. A cookie that the store does not know at all may be another application's.
    """

    side: Side
    is_alive: bool
    is_ours: bool

    def may_be_deleted_at(self, longer: int) -> bool:
        """Return whether it may stand at a path so much `longer` than the policy's, to delete.

        A twin ahead of the living cookie has at least as long a path, a twin behind it no longer
        one. So no deletion takes another application's living cookie from ``/``, from where it was
        merely sent along.
        """
        if (longer > 0 and self.side == "behind") or (longer < 0 and self.side == "before"):
            return False
        return self.is_ours or longer >= 0


@texts.shows("alive")
class Twins(Struct, frozen=True):
    """The outcome for the twins of a request: `alive` is the number that lead to a session.

    `chosen` is the first of those; without one, a cookie whose session got another id, so that the
    request counts as superseded; else None: the request is anonymous.

    `is_settled` is False if another one has got a new id, and the session with that id is not the
    chosen one: the browser is about to get that id, or has it by now, and no answer may write
    another living cookie over it.
    """

    chosen: PresentedCookie | None
    alive: int
    others: tuple[OtherCookie, ...]
    is_settled: bool = True

    def deletions(
        self, policy: CookiePolicy, *, scheme: str, host: str, path: str, all_of_them: bool
    ) -> list[str]:
        """Return the Set-Cookie values that delete the dead twins from any place in the browser.

        `host` (with or without port) and `path` are those of the request's URL. The place of the
        session's own cookie is left out, so that an overlapping log-in is not undone. With
        `all_of_them`, at a log-out, the living twins go too.

        Not promised: that all are reached. There are at most `MOST_DELETIONS`, and a cookie that
        may be another application's log-in stays: on a path above the policy's, only one that this
        store knows to be replaced is deleted.
        """
        doomed = [other for other in self.others if all_of_them or not other.is_alive]
        if not doomed:
            return []
        hosts = _hosts(host)
        places = _places(policy, hosts, path, is_secure=policy.is_secure(scheme))
        fitting = (
            place
            for place in places
            if any(other.may_be_deleted_at(len(place.path) - len(policy.path)) for other in doomed)
        )
        return [
            policy.delete_header(scheme=scheme, place=place)
            for place in islice(fitting, MOST_DELETIONS)
        ]


def deletions_above(policy: CookiePolicy, *, scheme: str) -> list[str]:
    """Return the Set-Cookie values that delete a cookie of ours from the paths above the policy's.

    It may come from there after the Path was changed, where neither the session's own deletion nor
    its new cookie reaches it.
    """
    own = policy.place
    paths = [path for path in _prefixes(own.path) if len(path) < len(own.path)]
    return [
        policy.delete_header(scheme=scheme, place=own._replace(path=path))
        for path in paths[:MOST_DELETIONS]
    ]


def look_up(candidates: Sequence[PresentedCookie], loader: Loader) -> Twins:
    """Ask the store about the cookies of one request, in the order of its header.

    Costs a store call for each. Raises StoreUnavailable.
    """
    looked = [(c, _found(c, loader)) for c in candidates[:MOST_LOOK_UPS]]
    alive = [i for i, (_, found) in enumerate(looked) if isinstance(found, Snapshot)]
    replaced = [i for i, (_, found) in enumerate(looked) if isinstance(found, Tombstone)]
    first = next(iter(alive + replaced), None)
    others = [
        OtherCookie(_side(i, alive), isinstance(found, Snapshot), isinstance(found, Tombstone))
        for i, (_, found) in enumerate(looked)
        if i not in alive[:1]
    ]
    return Twins(
        None if first is None else looked[first][0],
        len(alive),
        tuple(others),
        _is_settled([found for _, found in looked]),
    )


def _is_settled(found: Sequence[Snapshot | Tombstone | None]) -> bool:
    chosen = next((each for each in found if isinstance(each, Snapshot)), None)
    heirs = {each.successor for each in found if isinstance(each, Tombstone)}
    return chosen is None or heirs <= {chosen.key}


def _found(candidate: PresentedCookie, loader: Loader) -> Snapshot | Tombstone | None:
    try:
        return loader.open(candidate.session_id or "")
    except CorruptRecord:
        return None


def _side(place: int, alive: list[int]) -> Side:
    if not alive:
        return "either"
    return "before" if place < alive[0] else "behind"


def _places(
    policy: CookiePolicy, hosts: list[str], path: str, *, is_secure: bool
) -> Iterator[Place]:
    """Return the places where a browser may hold a cookie for this URL, likeliest first.

    The place of the policy's own cookie is left out.
    """
    own = policy.place
    if own.partitioned or is_secure:  # Partitioned needs Secure
        yield own._replace(partitioned=not own.partitioned)
    if policy.is_host_only:
        return  # the prefix of its name allows no other
    domains, paths = [None, *hosts], [own.path, *_prefixes(path)]
    places = [own._replace(domain=domain, path=path) for path in paths for domain in domains]
    # Deploys mostly change one attribute at a time: places with both changed come last.
    places.sort(key=lambda place: (place.domain != own.domain) + (place.path != own.path))
    yield from (place for place in dict.fromkeys(places) if place != own)


def _hosts(host: str) -> list[str]:
    """Return the Domains whose cookies come to a Host: its name, and those above it."""
    name = _PORT.sub("", host).lower().rstrip(".")
    if not RULES["domain"].pattern.fullmatch(name) or name.rpartition(".")[2].isdigit():
        return []  # an address, or no name at all
    labels = name.split(".")
    # No browser takes a cookie for a whole top-level domain.
    above = (".".join(labels[i:]) for i in range(1, len(labels) - 1))
    return [name, *islice(above, _MOST_DOMAINS)]


def _prefixes(path: str) -> Iterator[str]:
    """Return the Paths whose cookies come to a URL's path, shortest first."""
    cuts = (i for i, sign in enumerate(path) if sign == "/")
    ends = sorted({end for cut in cuts for end in (cut, cut + 1)} | {len(path)})
    prefixes = (path[:end] for end in ends if 0 < end <= _LONGEST_PATH)
    return (p for p in islice(prefixes, _MOST_PREFIXES) if RULES["path"].pattern.fullmatch(p))
