"""What is stored of values of other types: the plain value that equals them, or nothing."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, namedtuple
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum, IntEnum, IntFlag
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask import Flask, session
from freezegun import freeze_time
from markupsafe import Markup
from overlapping import Sessions

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.plain import encode_plain, plain
from wsgi_sessions.errors import UnserializableValue
from wsgi_sessions.stores.memory.backend import open_memory

Point = namedtuple("Point", "x y")  # the untyped one is what applications have


class Key(str, Enum):
    CART = "cart"


class Size(IntEnum):
    BIG = 3


class Right(IntFlag):
    READ = 1
    WRITE = 2


class PlainText(str):
    __slots__ = ()


class Safe(str):
    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


class Moment(datetime):
    pass


class Id(UUID):
    pass


class Lazy:
    """A translation, as Babel's and Django's: it equals its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return str(other) == self._text

    __hash__ = None  # type: ignore[assignment]


class PlainZone(tzinfo):
    """As pytz': one for each offset, and it has the name of the place."""

    def __init__(self, zone: str | None, hours: float) -> None:
        self.zone = zone
        self._offset = timedelta(hours=hours)

    def utcoffset(self, _: datetime | None) -> timedelta:
        return self._offset

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        return "there"


class NoOffset(PlainZone):
    def utcoffset(self, _: datetime | None) -> Any:
        return None


IN_WINTER = (2031, 1, 15, 12, 30)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Key.CART, str),
        (Size.BIG, int),
        (Right.READ | Right.WRITE, int),
        (PlainText("x"), str),
        (Safe("<b>"), Markup),
        (Lazy("later"), str),
        (OrderedDict(b=1, a=2), dict),
        (defaultdict(list, a=[1]), dict),
        (Counter("aab"), dict),
        (Point(1, 2), tuple),
        ({Key.CART: [Size.BIG]}, dict),
        ([PlainText("x"), {Size.BIG}], list),
        (frozenset({Key.CART}), frozenset),
        (Moment(*IN_WINTER, fold=1), datetime),
        (Moment(*IN_WINTER, tzinfo=ZoneInfo("Europe/Berlin")), datetime),
        (Id(int=7), UUID),
        (datetime(*IN_WINTER, tzinfo=PlainZone("Europe/Berlin", 1)), datetime),
        (datetime(*IN_WINTER, tzinfo=PlainZone("Europe/Berlin", 2)), datetime),
        (datetime(*IN_WINTER, tzinfo=PlainZone("no such place", 2)), datetime),
        (datetime(*IN_WINTER, tzinfo=PlainZone(None, 0)), datetime),
        (time(12, 30, tzinfo=PlainZone(None, 2)), time),
        (type("Nan", (float,), {})("nan"), float),
    ],
)
def test_it_is_stored_as_the_plain_value_that_it_equals(value: Any, kind: type) -> None:
    stored: Any = decode(encode_plain(value))
    assert type(stored) is kind
    assert stored == value or value != value  # NaN
    if isinstance(value, datetime) and isinstance(stored, datetime):
        assert stored.utcoffset() == value.utcoffset()


def test_a_named_zone_stays_one_where_it_is_right() -> None:
    stored = plain(datetime(*IN_WINTER, tzinfo=PlainZone("Europe/Berlin", 1)))
    assert stored.tzinfo == ZoneInfo("Europe/Berlin")


class Liar(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return False


class Fraught(int):
    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = int.__hash__


class Sheet(dict[str, int]):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sheet)

    __hash__ = None


class PlainColor(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "cart"),
        ([1, object()], "cart[1]"),
        ({"a": Liar("x")}, "cart.a"),
        ({7: {Key.CART: [object()]}}, "cart[7].cart[0]"),
        (Fraught(1), "cart"),
        (Sheet(a=1), "cart"),
        (PlainColor.RED, "cart"),
        ({PlainColor.RED: 1}, "cart.<key>"),
        (bytearray(b"x"), "cart"),
        (time(12, 30, tzinfo=NoOffset("Europe/Berlin", 1)), None),
    ],
)
def test_values_that_equal_no_plain_value_are_refused_with_their_path(
    value: Any, path: str | None
) -> None:
    if path is None:  # a time without an offset equals the naive one
        assert plain(value) == value
        return
    with pytest.raises(UnserializableValue) as caught:
        encode_plain(value, "cart")
    assert caught.value.path == path


@pytest.mark.parametrize("kind", [OrderedDict, Counter, lambda: defaultdict(int)])
@pytest.mark.parametrize("by", ["assignment", "setdefault"])
def test_later_changes_in_a_subclass_are_found(kind: Any, by: str) -> None:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="s" * 40, WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_SWEEP_INTERVAL="off"
    )
    sessions = WSGISessions(app)

    @app.get("/put")
    def put() -> str:
        made = kind()
        if by == "assignment":
            session["made"] = made
        else:
            made = session.setdefault("made", made)
        made["tea"] = 1
        return ""

    @app.get("/get")
    def get() -> dict[str, Any]:
        return dict(session)

    client = app.test_client()
    client.get("/put")
    assert client.get("/get").json == {"made": {"tea": 1}}
    sessions.close(app)


def test_a_subclass_of_datetime_that_equals_none_is_refused_everywhere() -> None:
    class Finer(datetime):  # as with nanoseconds
        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = datetime.__hash__

    assert type(decode(encode(Moment(*IN_WINTER)))) is datetime
    for encoder in (encode, encode_plain):
        with pytest.raises(UnserializableValue, match="Finer"):
            encoder([Finer(*IN_WINTER)], "cart")


def test_dates_of_frozen_time_are_dates() -> None:
    sessions = Sessions(open_memory())
    with freeze_time("2031-05-01 12:00") as clock:
        at, day = datetime.now(timezone.utc), date.today()
        session_id = sessions.new(at=at, day=day, both=[at, day])
        clock.tick(60)
        sessions.do(session_id, lambda session: session["both"].append(session["at"]))
        found = sessions.seen(session_id)[1]
    moment = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)
    assert found == {
        "at": moment,
        "day": date(2031, 5, 1),
        "both": [moment, date(2031, 5, 1), moment],
    }
    assert type(found["at"]) is datetime
