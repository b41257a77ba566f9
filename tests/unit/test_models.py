"""A session with a schema: views, types, defaults, and two requests at once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from itertools import product
from types import new_class
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_handlers import RunsHandlers

from wsgi_sessions import InvalidValue, SessionError
from wsgi_sessions.models import SessionModel, typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions import Session


class Ware(SessionModel):
    name: str
    amount: int = 1
    tags: list[str] = []


class Stall(SessionModel):
    visits: int = 0
    user: str | None = None
    price: Decimal = Decimal(0)
    kind: Literal["tea", "milk"] = "tea"
    rank: Annotated[int, msgspec.Meta(ge=0)] = 0
    seen: set[int] = set()
    log: list[str] = []
    cart: list[Ware] = []
    best: Ware | None = None
    shelf: dict[str, Ware] = {}
    renamed: int = msgspec.field(default=0, name="r")

    def total(self) -> int:
        return sum(item.amount for item in self.cart)


class PlainItem(msgspec.Struct, kw_only=True):
    name: str
    amount: int = 1
    tags: list[str] = []


class PlainShop(msgspec.Struct, kw_only=True):
    visits: int = 0
    user: str | None = None
    price: Decimal = Decimal(0)
    kind: str = "tea"
    rank: int = 0
    seen: set[int] = set()
    log: list[str] = []
    cart: list[PlainItem] = []
    best: PlainItem | None = None
    shelf: dict[str, PlainItem] = {}
    renamed: int = 0


# -- a model and a plain Struct --------------------------------------------------------------------

ANY = {
    "visits": st.integers(),
    "user": st.none() | st.text(max_size=3),
    "price": st.decimals(allow_nan=False),
    "kind": st.sampled_from(["tea", "milk"]),
    "rank": st.integers(0, 9),
    "seen": st.sets(st.integers(), max_size=3),
    "log": st.lists(st.text(max_size=3), max_size=3),
    "renamed": st.integers(),
}
AN_ITEM = st.fixed_dictionaries({"name": st.text(max_size=3)}, optional={"amount": st.integers()})


def assigning(name: str) -> st.SearchStrategy[Any]:
    return ANY[name].map(lambda value: lambda shop, item: setattr(shop, name, value))


def put_on_shelf(key: str, given: dict[str, Any]) -> Any:
    def put(shop: Any, item: Any) -> None:
        shop.shelf[key] = item(**given)

    return put


def mark(items: Iterable[Any], **values: Any) -> None:
    for each, (name, value) in product(items, values.items()):
        setattr(each, name, value)


STEPS = st.one_of(
    st.sampled_from(sorted(ANY)).flatmap(assigning),
    AN_ITEM.map(lambda g: lambda shop, item: shop.cart.append(item(**g))),
    AN_ITEM.map(lambda g: lambda shop, item: shop.cart.insert(0, item(**g))),
    AN_ITEM.map(lambda g: lambda shop, item: setattr(shop, "best", item(**g))),
    st.builds(put_on_shelf, st.sampled_from("ab"), AN_ITEM),
    st.just(lambda shop, item: setattr(shop, "best", None)),
    st.just(lambda shop, item: shop.cart and shop.cart.pop()),
    st.just(lambda shop, item: shop.cart and shop.cart[-1].tags.append("t")),
    st.just(lambda shop, item: mark(shop.cart[:1], amount=7)),
    st.just(lambda shop, item: mark([shop.best] if shop.best else [], tags=["u"])),
    st.just(lambda shop, item: mark(shop.shelf.values(), amount=9)),
    st.integers().map(lambda n: lambda shop, item: shop.seen.add(n)),
    st.text(max_size=3).map(lambda text: lambda shop, item: shop.log.append(text)),
    st.none(),  # the next request
)


def as_plain(value: Any) -> Any:
    """The fields of a model or a Struct, with everything in it."""
    if isinstance(value, SessionModel):
        return {name: as_plain(getattr(value, name)) for name in type(value).__fields__}
    if isinstance(value, msgspec.Struct):
        return {n: as_plain(getattr(value, n)) for n in value.__struct_fields__}
    if isinstance(value, (str, bytes, set)) or not hasattr(value, "__iter__"):
        return value
    if hasattr(value, "items"):
        return {key: as_plain(each) for key, each in value.items()}
    return [as_plain(each) for each in value]


@settings(max_examples=50)
@given(st.lists(STEPS, max_size=12), st.booleans())
def test_any_changes_leave_what_a_plain_struct_has(steps: list[Any], in_session: bool) -> None:
    application, plain = RunsHandlers(), PlainShop()
    requests: list[list[Any]] = [[]]
    for step in steps:
        requests.append([]) if step is None else requests[-1].append(step)

    def run(steps: list[Any], shop: Stall) -> None:
        for step in steps:
            step(plain, PlainItem)
            step(shop, Ware)
            assert as_plain(shop) == as_plain(plain)

    by_hand = Stall()
    for request in requests:
        if in_session:
            application.ask(lambda session, request=request: run(request, typed(session, Stall)))  # type: ignore[misc]
        else:
            run(request, by_hand)
    if in_session:
        application.ask(lambda s: run([], typed(s, Stall)))


# -- where values are set --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("visits", "SECRET", "Expected `int`, got `str`"),
        ("visits", True, "Expected `int`, got `bool`"),
        ("visits", None, "Expected `int`, got `null`"),
        ("price", "1.5", "Expected `decimal`, got `str`"),
        ("kind", "SECRET", "Literal"),
        ("rank", -1, "Expected `int` >= 0"),
        ("seen", [1], "another `list`"),
        ("log", ("SECRET",), "another `tuple`"),
        ("log", ["a", 5], "got `int` - at `$[1]`"),
        ("cart", [{"name": "SECRET"}], "Expected `Ware`, got `dict`"),
        ("best", "SECRET", "Expected `Ware"),
        ("shelf", {"SECRET": 1}, "got `int`"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: object, expected: str) -> None:
    def handler(session: Session) -> None:
        shop = typed(session, Stall)
        with pytest.raises(InvalidValue) as caught:
            setattr(shop, name, value)
        assert isinstance(caught.value, (TypeError, SessionError))
        assert f"Stall.{name}: " in str(caught.value)
        assert expected in str(caught.value)
        assert "SECRET" not in str(caught.value)
        assert not session.modified

    application = RunsHandlers()
    application.ask(handler)
    assert application.browser.cookies == {}


def test_an_item_that_is_no_model_is_refused() -> None:
    shop = Stall(cart=[Ware(name="tea")])
    for put in (
        lambda: shop.cart.append("tea"),  # type: ignore[arg-type]
        lambda: shop.cart.__setitem__(0, {"name": "tea"}),  # type: ignore[call-overload]
        lambda: shop.shelf.update(a=1),  # type: ignore[call-overload]
        lambda: shop.cart.append(shop),  # type: ignore[arg-type]
        lambda: setattr(shop.cart[0], "amount", "1"),
        lambda: Ware(name=5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidValue):
            put()
    assert shop == Stall(cart=[Ware(name="tea")])


def test_what_is_no_field_cannot_be_set_or_given() -> None:
    with pytest.raises(AttributeError, match="vists"):
        Stall().vists = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="vists"):
        Stall(vists=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="name"):
        Ware()  # type: ignore[call-arg]


def test_declarations_that_cannot_work_are_refused() -> None:
    with pytest.raises(TypeError, match=r"A\.a: .*default_factory"):
        declare({"a": [1]}, a=list[int])
    with pytest.raises(TypeError, match=r"A\.a: of models"):
        declare({}, a=set[Ware])
    with pytest.raises(TypeError, match="migration"):
        declare({"version": 2}, a=int)


def declare(given: dict[str, Any], **hints: Any) -> None:
    options = {name: given.pop(name) for name in ("version",) if name in given}
    body = {"__annotations__": hints, "__module__": __name__, **given}
    new_class("A", (SessionModel,), options, lambda namespace: namespace.update(body))


def test_a_field_of_a_session_that_is_not_set_has_no_value() -> None:
    application = RunsHandlers()
    application.ask(lambda s: not hasattr(typed(s, Ware), "name") or pytest.fail("it has one"))
    application.ask(lambda s: setattr(typed(s, Ware), "name", "tea"))
    assert application.values() == {"name": "tea"}
    application.ask(lambda s: delattr(typed(s, Ware), "name"))
    assert application.values() == {}


def test_a_stored_value_of_another_shape_is_told_not_shown() -> None:
    application = RunsHandlers()
    application.ask(lambda s: s.update(best="SECRET", cart="SECRET", shelf=[], visits=1))

    def handler(session: Session) -> None:
        shop = typed(session, Stall)
        for name in ("best", "cart", "shelf"):
            with pytest.raises(InvalidValue, match="in its place") as caught:
                getattr(shop, name)
            assert "SECRET" not in str(caught.value)
        assert "SECRET" not in repr(shop)

    application.ask(handler)


# -- a view on the session -------------------------------------------------------------------------


def test_reading_defaults_stores_nothing() -> None:
    application = RunsHandlers()
    application.ask(lambda s: as_plain(typed(s, Stall)))
    assert application.browser.cookies == {}


def test_it_holds_no_copy_and_leaves_unknown_keys() -> None:
    application = RunsHandlers()

    def handler(session: Session) -> None:
        session["newer"] = {"a": [1]}
        shop = typed(session, Stall)
        shop.best = Ware(name="tea")
        session["best"]["newer"] = 1
        shop.best.amount = 2
        session["visits"] = 5
        shop.visits += 1
        shop.renamed = 4
        again = typed(session, Stall)
        again.log.append("x")
        assert (shop.visits, shop.total(), shop.log) == (6, 0, ["x"])

    application.ask(handler)
    application.ask(lambda s: setattr(typed(s, Stall).best, "amount", 3))
    assert application.values() == {
        "newer": {"a": [1]},
        "best": {"name": "tea", "tags": [], "newer": 1, "amount": 3},
        "visits": 6,
        "r": 4,
        "log": ["x"],
    }


def test_two_requests_that_change_different_fields_both_count() -> None:
    application = RunsHandlers()
    application.ask(lambda s: setattr(typed(s, Stall), "best", Ware(name="tea")))
    application.at_once(
        lambda s: setattr(typed(s, Stall), "visits", 1),
        lambda s: setattr(typed(s, Stall), "user", "ann"),
        lambda s: setattr(typed(s, Stall).best, "amount", 2),
        lambda s: setattr(typed(s, Stall).best, "name", "milk"),
        lambda s: typed(s, Stall).log.append("a"),
        lambda s: typed(s, Stall).log.append("b"),
        lambda s: typed(s, Stall).cart.append(Ware(name="c")),
        lambda s: typed(s, Stall).cart.append(Ware(name="d")),
    )
    values = application.values()
    assert (values["visits"], values["user"]) == (1, "ann")
    assert (values["best"]["amount"], values["best"]["name"]) == (2, "milk")
    assert sorted(values["log"]) == ["a", "b"]
    assert sorted(item["name"] for item in values["cart"]) == ["c", "d"]
    assert [event for event in application.events if event.name == "conflict"] == []


def test_a_default_that_is_held_through_an_exclusive_block_is_stored() -> None:
    application = RunsHandlers()
    application.ask(lambda s: s.update(visits=1))

    def handler(session: Session) -> None:
        log = typed(session, Stall).log
        with session.exclusive():
            log.append("in it")
        log.append("after it")

    application.ask(handler)
    assert application.values()["log"] == ["in it", "after it"]


def test_a_block_that_fails_undoes_the_change_of_a_default() -> None:
    application = RunsHandlers()
    application.ask(lambda s: s.update(visits=1))

    def handler(session: Session) -> None:
        shop = typed(session, Stall)
        log = shop.log
        with suppress(ZeroDivisionError), session.exclusive():
            log.append("undone")
            1 / 0  # noqa: B018
        assert shop.log == []
        shop.log.append("kept")

    application.ask(handler)
    assert application.values()["log"] == ["kept"]


def test_a_log_out_takes_the_fields_with_it() -> None:
    application = RunsHandlers()
    application.ask(lambda s: typed(s, Stall).log.append("former"))

    def handler(session: Session) -> None:
        shop = typed(session, Stall)
        _ = shop.log, shop.cart
        session.flush()
        assert (shop.log, shop.cart) == ([], [])
        shop.cart.append(Ware(name="tea"))

    application.ask(handler)
    assert application.values() == {"cart": [{"name": "tea", "tags": []}]}


def test_the_package_is_imported_on_use_alone() -> None:
    program = "import sys, wsgi_sessions; print('wsgi_sessions.models' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
