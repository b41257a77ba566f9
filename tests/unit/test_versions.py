"""When a session is stale, and how current the versions are that it is compared with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.stores.memory.versions import MemoryVersions
from wsgi_sessions.versions.policy import CachedStamps, Reading, VersionPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.contract import Bump

NOBODY: Any = None  # a session that a template does not look at


class Source:
    """Stamps in memory, with a clock, that count how often they are asked and can be down."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        self.asked: list[list[str]] = []
        self.fault: Exception | None = None
        self.takes = 0.0
        self.stamps = MemoryVersions()
        self.cache = CachedStamps(self, clock=lambda: self.now, **settings)

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(scopes))
        self.now += self.takes
        if self.fault is not None:
            raise self.fault
        return self.stamps.current(scopes)


# -- the policy --------------------------------------------------------------------------------


def current(**versions: int) -> Reading:
    return Reading(versions, is_certain=True)


@pytest.mark.parametrize(
    ("data", "stamps", "reading", "expected"),
    [
        ({"id": 1}, {"a": 3}, current(a=3), None),
        ({"id": 1}, {"a": 3}, current(a=4), "behind"),
        ({"id": 1}, {"a": 3}, current(a=2), "ahead"),
        ({"id": 1}, {"a": 3}, Reading({"a": 2}, is_certain=False), None),
        ({"id": 1}, {"a": 3}, Reading({"a": 4}, is_certain=False), "behind"),
        ({"id": 1}, {"a": 3}, Reading({}, is_certain=False), None),
        ({"id": 1}, None, current(a=0), "unstamped"),
        ({"id": 1}, {}, current(a=0), None),
        ({"id": 1}, {}, current(a=1), "behind"),
        ({"id": 1}, {"a": 1, "gone": 9}, current(a=1), None),
        ({}, {"a": 3}, current(a=3), "missing-field"),
        ({"id": None}, {"a": 3}, current(a=3), None),
        ({"id": 1}, {"a": 1, "b": 1}, current(a=1, b=2), "behind"),
    ],
)
def test_staleness(
    data: dict[str, Any], stamps: dict[str, int] | None, reading: Reading, expected: str | None
) -> None:
    found = VersionPolicy(required=("id",)).staleness(data, stamps, reading)
    assert (found and found.reason) == expected


def test_without_scopes_nothing_has_to_be_stamped() -> None:
    policy = VersionPolicy(scopes=(), required=("id",))
    assert policy.staleness({"id": 1}, None, current()) is None
    assert policy.staleness({}, None, current()) == ("missing-field", "id")


def test_scopes_are_filled_from_the_session() -> None:
    policy = VersionPolicy(("global", "league:{league_id}", "user:{principal}", "{a}/{b}"))
    assert policy.fixed_scopes == ("global",)
    assert policy.scopes_of(NOBODY, None, {}) == ("global",)
    data = {"league_id": 5, "a": "x{y}", "b": None}
    assert policy.scopes_of(NOBODY, 7, data) == ("global", "league:5", "user:7")
    assert policy.scopes_of(NOBODY, 7, {"a": "x{y}", "b": 0}) == ("global", "user:7", "x{y}/0")
    assert policy.scopes_of(NOBODY, 7, {"principal": "own"}) == ("global", "user:own")


def test_scopes_may_be_a_function() -> None:
    session: Any = {"leagues": [5, 9, 5]}
    policy = VersionPolicy(lambda session: [f"league:{n}" for n in session["leagues"]])
    assert policy.scopes_of(session, None, {}) == ("league:5", "league:9")
    assert policy.fixed_scopes == ()


@pytest.mark.parametrize(
    "template", ["", "{", "{}", "{0}", "{a.__class__}", "{a[0]}", "{a!r}", "{a:>9}", "}", "{a b}"]
)
def test_a_template_with_more_than_names_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="version scope"):
        VersionPolicy((template,))


def test_who_is_logged_in() -> None:
    policy = VersionPolicy(required=("id", "email"), principal_key="user_id")
    assert policy.is_logged_in("alice", {})
    assert policy.is_logged_in(0, {})
    for key in ("id", "email", "user_id"):
        assert policy.is_logged_in(None, {key: 0})
        assert not policy.is_logged_in(None, {key: None})
    assert not policy.is_logged_in(None, {"cart": [1]})
    assert not VersionPolicy().is_logged_in(None, {"id": 1})


# -- the cache ---------------------------------------------------------------------------------


def test_a_version_is_asked_for_once_in_its_time() -> None:
    source = Source(max_age=1.0)
    source.stamps.bump("a")
    for _ in range(10):
        assert source.cache.current(["a"]) == ({"a": 1}, True)
        source.now += 0.099
    assert source.asked == [["a"]]
    source.stamps.bump("a")
    source.now += 0.01
    assert source.cache.current(["a"]) == ({"a": 2}, True)
    assert source.asked == [["a"], ["a"]]


def test_the_age_of_a_version_counts_from_before_the_asking() -> None:
    source = Source(max_age=1.0)
    source.takes = 0.9
    source.cache.current(["a"])
    source.now += 0.2
    source.cache.current(["a"])
    assert len(source.asked) == 2


def test_all_scopes_are_asked_for_together() -> None:
    source = Source(max_age=1.0)
    source.cache.current(["a"])
    assert source.cache.current(["a", "b"]) == ({"a": 0, "b": 0}, True)
    assert source.asked == [["a"], ["a", "b"]]
    assert source.cache.current([]) == ({}, True)
    assert len(source.asked) == 2


def test_zero_means_always() -> None:
    source = Source(max_age=0.0)
    for number in range(3):
        assert source.cache.current(["a"]).versions == {"a": number}
        source.stamps.bump("a")


def test_fresh_asks_and_others_profit() -> None:
    source = Source(max_age=1.0)
    source.cache.current(["a"])
    source.stamps.bump("a")
    assert source.cache.current(["a"]).versions == {"a": 0}
    assert source.cache.fresh(["a"]).versions == {"a": 1}
    assert source.cache.current(["a"]).versions == {"a": 1}


@pytest.mark.parametrize(
    ("fault", "shown"),
    [(StoreUnavailable("no answer"), "no answer"), (OSError("secret"), "OSError")],
)
def test_a_source_that_is_down_never_fails_a_request(
    fault: Exception, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsgi_sessions")
    source = Source(max_age=0.1)
    source.stamps.bump("a")
    source.cache.current(["a"])
    source.now += 1
    source.fault = fault
    for _ in range(20):
        assert source.cache.current(["a", "never read"]) == ({"a": 1}, False)
        assert source.cache.fresh(["a"]) == ({"a": 1}, False)
        source.now += 0.19
    # Asked again once a second, although the versions get old faster.
    assert len(source.asked) == 1 + 4
    source.fault = None
    source.now += 1
    source.stamps.bump("a")
    assert source.cache.current(["a"]) == ({"a": 2}, True)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, messages
    assert "does not answer" in messages[0]
    assert shown in messages[0]
    assert "secret" not in caplog.text
    assert "answers again" in messages[1]


def test_versions_known_before_a_moment() -> None:
    source = Source(max_age=1.0)
    source.stamps.bump("a")
    assert source.cache.known_before(["a"], source.now) == {}
    source.takes = 1.0
    began = source.now
    source.cache.fresh(["a", "b"])
    # It may have been read at any time until the answer.
    assert source.cache.known_before(["a", "b"], began + 0.5) == {}
    moment = source.cache.now()
    assert source.cache.known_before(["a", "b", "c"], moment) == {"a": 1, "b": 0}
    source.now += 5
    source.stamps.bump("b")
    source.cache.fresh(["a", "b"])
    # The same version is known since it was first seen; the new one was not known then.
    assert source.cache.known_before(["a", "b"], moment) == {"a": 1}


def test_a_late_older_answer_does_not_replace_a_newer_one() -> None:
    source = Source(max_age=100.0)

    class Overtaken:
        def current(self, scopes: Sequence[str]) -> dict[str, int]:
            older = source.stamps.current(scopes)
            source.stamps.bump("a")
            source.now += 1
            cache._source = source
            cache.fresh(scopes)
            return older

    cache = CachedStamps(Overtaken(), max_age=100.0, clock=lambda: source.now)
    assert cache.fresh(["a"]).versions == {"a": 0}
    assert cache.current(["a"]).versions == {"a": 1}


def test_the_cache_is_bounded() -> None:
    source = Source(max_age=100.0)
    for number in range(25_000):
        source.cache.current([f"user:{number}"])
    assert len(source.cache._known) <= 10_001
    assert source.cache.current(["user:24999"]).versions == {"user:24999": 0}


# -- since when a bump is missed -------------------------------------------------------------------


class Told(Source):
    """A source that keeps its latest bump alone, as SQL does."""

    def __init__(self, **settings: Any) -> None:
        self.told: list[str] = []
        super().__init__(wall=lambda: 5000.0 + self.now, **settings)
        self.stamps = MemoryVersions(lambda: 5000.0 + self.now)

    def history(self, scope: str, limit: int) -> list[Bump]:
        self.told.append(scope)
        if self.fault is not None:
            raise self.fault
        return self.stamps.history(scope, 1)

    def bump_at(self, moment: float) -> None:
        self.now = moment
        self.stamps.bump("a")

    def missed(self, stamp: int) -> float:
        return self.cache.times.missed_since("a", stamp, self.cache.current(["a"]).versions["a"])


def test_the_first_bump_that_was_missed_counts_however_many_follow() -> None:
    source = Told()
    for number in range(200):
        source.bump_at(1000.0 + 10 * number)
        source.cache.current(["a"])  # as other requests do
    for stamp in (0, 1, 50, 100, 150, 198, 199):
        true = 6000.0 + 10 * stamp
        assert true <= source.missed(stamp) < true + 100, "a few stand for those around them"


def test_a_bump_that_this_process_has_not_seen_is_asked_for_once() -> None:
    source = Told()
    source.bump_at(1000.0)
    source.now = 4000.0
    assert [source.missed(0) for _ in range(3)] == [6000.0] * 3
    source.bump_at(4100.0)
    source.now = 4300.0
    assert [source.missed(1) for _ in range(3)] == [9100.0] * 3
    assert source.missed(0) == 9000.0, "when this process learned of it: no source tells"
    assert source.told == ["a", "a"]


def test_a_source_that_is_ahead_or_tells_nothing_does_not_prolong_a_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Told()
    source.stamps = MemoryVersions(lambda: 10.0**9)
    source.bump_at(1000.0)
    assert source.missed(0) == 6000.0
    source.now = 3000.0
    assert source.missed(0) == 6000.0
    broken = Told()
    broken.bump_at(1000.0)
    assert broken.cache.current(["a"]).versions == {"a": 1}
    broken.fault = StoreUnavailable("down")
    broken.now = 1500.0
    assert [broken.cache.times.missed_since("a", 0, 1) for _ in range(3)] == [6000.0] * 3
    assert broken.told == ["a"], "it is left in peace for a while"
    bare = Source(wall=lambda: 7000.0)
    bare.stamps.bump("a")
    assert bare.cache.current(["a"]).versions == {"a": 1}
    assert bare.cache.times.missed_since("a", 0, 1) == 7000.0


def test_rights_are_scopes_too() -> None:
    policy = VersionPolicy(("global",), rights=("user:{principal}", "global"))
    assert policy.scopes_of(NOBODY, 7, {}) == ("global", "user:7")
    assert policy.rights_of(7, {}) == ("user:7", "global")
    assert not policy.is_fixed
    assert VersionPolicy(("global",), rights=("global",)).is_fixed
    function = VersionPolicy(lambda _: ["a"], rights=("b",))
    assert function.scopes_of(NOBODY, None, {}) == ("a", "b")
    assert not function.is_fixed
