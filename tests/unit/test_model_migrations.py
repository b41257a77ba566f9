"""A session that releases with different schemas share: migrated at reading, back and forth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_handlers import RunsHandlers
from shop_releases import ShopOfFirst, ShopOfSecond, ShopOfThird, Wish, seen

from wsgi_sessions.errors import UnsupportedFormat
from wsgi_sessions.models import typed

if TYPE_CHECKING:
    from wsgi_sessions import Session

STORED: dict[str, Any] = {"visits": 3, "wishes": ["tea", "milk"], "newer": {"a": [1]}}


def stored() -> RunsHandlers:
    application = RunsHandlers()
    application.ask(lambda s: s.update(STORED))
    return application


# -- while both run ----------------------------------------------------------------------------


def test_the_second_release_reads_and_changes_what_the_first_stores() -> None:
    application = stored()

    def handler(session: Session) -> None:
        shop = typed(session, ShopOfSecond)
        assert seen(shop)["amounts"] == {"tea": 1, "milk": 1}
        assert not session.modified
        shop.wishlist[0].amount = 4
        shop.wishlist.append(Wish(name="oil"))
        shop.visits += 1
        shop.again = 1

    application.ask(handler)
    assert application.values() == {
        **STORED,
        "visits": 4,
        "again": 1,
        "wishes": ["tea", "milk", "oil"],
        "amounts": {"tea": 4},
    }


def test_both_see_each_others_changes_at_once_and_later() -> None:
    application = RunsHandlers()

    def handler(session: Session) -> None:
        first, second = typed(session, ShopOfFirst), typed(session, ShopOfSecond)
        second.wishlist.append(Wish(name="tea", amount=2))
        assert first.wishes == ["tea"]
        first.wishes.append("milk")
        assert [wish.name for wish in second.wishlist] == ["tea", "milk"]
        second.wishlist[1].amount = 3
        second.wishlist = [*second.wishlist, Wish(name="oil")]
        assert first.wishes == ["tea", "milk", "oil"]
        del second.wishlist
        assert (first.wishes, second.wishlist) == ([], [])
        second.wishlist = [Wish(name="tea")]

    application.ask(handler)
    application.ask(lambda s: typed(s, ShopOfFirst).wishes.append("milk"))
    application.ask(lambda s: typed(s, ShopOfSecond).wishlist.append(Wish(name="oil")))
    assert application.values()["wishes"] == ["tea", "milk", "oil"]


@pytest.mark.parametrize("begun", [False, True])
def test_overlapping_changes_of_both_releases_count(begun: bool) -> None:
    application = stored()
    if not begun:
        application.ask(lambda s: s.pop("wishes"))
    application.at_once(
        lambda s: typed(s, ShopOfFirst).wishes.append("oil"),
        lambda s: typed(s, ShopOfSecond).wishlist.append(Wish(name="salt", amount=2)),
        lambda s: setattr(typed(s, ShopOfSecond), "again", 1),
        lambda s: typed(s, ShopOfFirst).wishes.append("egg"),
        lambda s: typed(s, ShopOfSecond).wishlist.append(Wish(name="jam", amount=3)),
        lambda s: setattr(typed(s, ShopOfFirst), "visits", 9),
    )
    values = application.values()
    before = STORED["wishes"] if begun else []
    assert sorted(values["wishes"]) == sorted([*before, "oil", "salt", "egg", "jam"])
    assert {"salt": 2, "jam": 3}.items() <= values["amounts"].items()
    assert (values["visits"], values["again"], values["newer"]) == (9, 1, STORED["newer"])
    assert [event for event in application.events if event.name == "conflict"] == []


NAMES = st.text("abc", min_size=1, max_size=2)
STEPS = st.lists(
    st.tuples(st.sampled_from(["first", "second"]), st.sampled_from(["add", "pop", "set"]), NAMES)
    | st.just(("", "next", "")),
    max_size=10,
)
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=3), st.integers() | st.lists(st.text()))


def change(session: Session, release: str, step: str, name: str) -> None:
    """Change the wishes by the view of a release."""
    shop: Any = typed(session, ShopOfFirst if release == "first" else ShopOfSecond)
    wishes = shop.wishes if release == "first" else shop.wishlist
    wish: Any = name if release == "first" else Wish(name=name)
    if step == "add":
        wishes.append(wish)
    elif step == "pop" and wishes:
        wishes.pop()
    elif step == "set":
        setattr(shop, "wishes" if release == "first" else "wishlist", [wish])


@settings(max_examples=50)
@given(UNKNOWN, STEPS)
def test_any_changes_of_both_are_those_of_one_list(
    unknown: dict[str, Any], steps: list[tuple[str, str, str]]
) -> None:
    """Forth and back, in one request and in several, keys that neither knows stay."""
    known = {"visits", "again", "wishes", "wishlist", "amounts"}
    unknown = {key: value for key, value in unknown.items() if key not in known}
    application = RunsHandlers()
    application.ask(lambda s: s.update({**unknown, "begun": 1}))
    names: list[str] = []
    requests: list[list[tuple[str, str, str]]] = [[]]
    for step in steps:
        requests.append([]) if step[1] == "next" else requests[-1].append(step)
    for request in requests:

        def handler(session: Session, request: Any = request) -> None:
            for release, step, name in request:
                change(session, release, step, name)
                names[:] = {"add": [*names, name], "pop": names[:-1], "set": [name]}[step]
                assert seen(typed(session, ShopOfFirst))["names"] == names
                assert seen(typed(session, ShopOfSecond))["names"] == names

        application.ask(handler)
    values = application.values()
    assert {key: values[key] for key in unknown} == unknown
    assert "wishlist" not in values
    assert values.get("wishes", []) == names


def test_a_block_reads_the_other_releases_changes_afresh() -> None:
    application = stored()

    def handler(session: Session) -> None:
        shop = typed(session, ShopOfSecond)
        wishlist = shop.wishlist
        wishlist.append(Wish(name="oil"))
        application.ask(lambda s: typed(s, ShopOfFirst).wishes.append("egg"))
        with session.exclusive():
            assert sorted(seen(shop)["names"]) == ["egg", "milk", "oil", "tea"]
            shop.wishlist[0].amount = 7

    application.ask(handler)
    values = application.values()
    assert sorted(values["wishes"]) == ["egg", "milk", "oil", "tea"]
    assert values["amounts"]["tea"] == 7


# -- when none of the former is left ---------------------------------------------------------------


def test_without_a_step_back_a_session_is_stored_as_new_at_its_first_change() -> None:
    application = stored()
    application.ask(lambda s: seen(typed(s, ShopOfThird)))
    assert application.values() == STORED
    application.ask(lambda s: setattr(typed(s, ShopOfThird).wishlist[0], "amount", 4))
    expected = {
        "visits": 3,
        "newer": {"a": [1]},
        "wishlist": [{"name": "tea", "amount": 4}, {"name": "milk", "amount": 1}],
        "Shop.version": 2,
    }
    assert application.values() == expected

    # The second release's workers, of which some still run, go on with it.
    application.ask(lambda s: typed(s, ShopOfSecond).wishlist.append(Wish(name="oil")))
    expected["wishlist"].append({"name": "oil"})  # type: ignore[attr-defined]
    assert application.values() == expected


def test_a_release_that_is_too_old_is_refused_and_changes_nothing() -> None:
    application = stored()
    application.ask(lambda s: setattr(typed(s, ShopOfThird), "visits", 4))
    before = application.values()

    def handler(session: Session) -> None:
        with pytest.raises(UnsupportedFormat, match=r"Shop\.version"):
            _ = typed(session, ShopOfFirst).visits
        with pytest.raises(UnsupportedFormat):
            typed(session, ShopOfFirst).visits = 5

    application.ask(handler)
    assert application.values() == before
