"""Values to bytes and back, and envelopes."""

from __future__ import annotations

import contextlib
import math
import pickle
from collections import OrderedDict, namedtuple
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from strategies import values

from wsgi_sessions.core.record.codec import MAX_DEPTH, MUTABLE, decode, encode
from wsgi_sessions.core.record.envelope import FORMAT, Envelope, open_sealed, seal
from wsgi_sessions.core.record.history import NO_COMMITS, Commit, with_commit
from wsgi_sessions.errors import CorruptRecord, UnserializableValue, UnsupportedFormat

KEY = "ab" * 32
OTHER = "cd" * 32


def same(one: Any, other: Any) -> Any:
    """Equal in type and value all the way down; NaN equals NaN, -0.0 does not equal 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (datetime, time)):
        return (
            one.replace(tzinfo=None) == other.replace(tzinfo=None)
            and one.fold == other.fold
            and repr(one.tzinfo) == repr(other.tzinfo)
            and type(one.tzinfo) is type(other.tzinfo)
        )
    return bool(one == other)


@given(values)
def test_every_value_comes_back_exactly(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(values)
def test_equal_values_have_equal_bytes(value: Any) -> None:
    assert encode(decode(encode(value))) == encode(value)


@given(st.lists(st.integers(), max_size=30))
def test_a_set_is_encoded_whatever_its_history(items: list[int]) -> None:
    backwards: set[int] = set()
    for item in reversed(items):
        backwards.add(item)
    assert encode(set(items)) == encode(backwards)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ((1,), [1]),
        ("a", b"a"),
        ("a", Markup("a")),
        (set(), frozenset()),
    ],
)
def test_values_that_python_calls_equal_are_kept_apart(one: object, other: object) -> None:
    assert encode(one) != encode(other)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2020, 10, 25, 2, 30, fold=1),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=23, minutes=59, seconds=59))),
        datetime.min,
        time(23, 59, 59, 999999, tzinfo=timezone(timedelta(minutes=-1), "Odd")),
        time(1, tzinfo=timezone(timedelta(hours=1, microseconds=7))),
        timedelta.max,
        timedelta.min,
        Decimal("sNaN123"),
        Decimal("-0E+999"),
        UUID(int=0),
        Markup("<b>&</b> \ud800"),
        {Markup("<b>"): 1, "<i>": Markup("<i>")},
        -(10**4000),
        2**64,
        -(2**63) - 1,
        "\ud800 lone",
        {"\udfff": 1},
        {(1, (2, frozenset({3}))): {None: True}},
    ],
)
def test_the_edges_of_each_type(value: Any) -> None:
    assert same(decode(encode(value)), value)


class Color(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class StoredZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "Zone"


Point = namedtuple("Point", "x y")  # the untyped one is what applications have


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "cart"),
        ([1, 2, {"price": object()}], "cart[2].price"),
        ({"a": ({1: complex(1)},)}, "cart.a[0][1]"),
        ({object(): 1}, "cart.<key>"),
        ({frozenset({Color.RED})}, "cart{…}{…}"),
        (Color.RED, "cart"),
        (Text("x"), "cart"),
        (Point(1, 2), "cart"),
        (OrderedDict(), "cart"),
        (bytearray(b"x"), "cart"),
        (lambda: None, "cart"),
        (datetime(2020, 1, 1, tzinfo=StoredZone()), "cart"),
    ],
)
def test_anything_else_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(UnserializableValue) as caught:
        encode(value, "cart")
    assert caught.value.path == path


def test_a_cycle_and_a_deep_value_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(UnserializableValue, match="deep"):
            encode(value)
    fits: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        fits = [fits]
    assert decode(encode(fits)) == fits


def test_no_value_is_in_the_error() -> None:
    with pytest.raises(UnserializableValue) as caught:
        encode({"password": ["hunter2", object()]}, "form")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [[], {}, set(), ([],)])
def test_types_that_can_change_in_place_are_mutable(value: object) -> None:
    assert type(value) in MUTABLE


@pytest.mark.parametrize("value", [None, 1, "x", b"x", frozenset(), date(2020, 1, 1), Decimal(1)])
def test_what_cannot_change_is_not(value: object) -> None:
    assert type(value) not in MUTABLE


# -- bytes that nobody encoded -----------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


HOSTILE = {
    "empty": b"",
    "reserved": b"\xc1",
    "trailing": b"\x80\x80",
    "deep": b"\x91" * 5000 + b"\x00",
    "a little too deep": b"\x91" * 70 + b"\x00",
    "deep in a map": b"\x81\xa1k" * 70 + b"\x00",
    "invalid UTF-8": b"\xa1\xff",
    "array that lies": b"\xdd\xff\xff\xff\xff",
    "map that lies": b"\xdf\xff\xff\xff\xff\x00",
    "string that lies": b"\xdb\xff\xff\xff\xffx",
    "unhashable key": b"\x81\x80\x01",
    "decimal": b"\xc7\x03\x0babc",
    "uuid": b"\xc7\x01\x0cx",
    "datetime": b"\xc7\x01\x07\x90",
    "year 0": b"\xc7\x0a\x080000-00-00",
    "tuple of no list": b"\xc7\x01\x03\x05",
    "set of lists": b"\xc7\x02\x04\x91\x90",
    "timedelta that overflows": b"\xc7"
    + bytes([2 + 9])
    + b"\x0a"
    + b"\x91\xcf"
    + b"\xff" * 8
    + b"\x00",
    "pickle": pickle.dumps(Bomb()),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_a_corrupt_record(data: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode(data)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_corrupt(data: bytes) -> None:
    with contextlib.suppress(CorruptRecord, UnsupportedFormat):
        decode(data)


def test_an_unknown_extension_is_of_a_newer_release() -> None:
    with pytest.raises(UnsupportedFormat, match="deploy"):
        decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"")))


def test_an_unknown_time_zone_is_not_a_lost_session() -> None:
    data = encode(datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")))
    with pytest.raises(UnsupportedFormat, match="tzdata"):
        decode(data.replace(b"Europe/Berlin", b"Europe/Nowhere"[:13]))


# -- envelopes ---------------------------------------------------------------------------------


COMMIT = Commit(5.0, b"of-eight", "GET /")


def envelope(data: dict[str, Any], created_at: float = 5.0) -> Envelope:
    raw = {key: msgspec.Raw(encode(value)) for key, value in data.items()}
    return Envelope(created_at, with_commit(NO_COMMITS, COMMIT), {}, raw)


def test_an_envelope_comes_back_without_decoding_its_values() -> None:
    sealed = seal(envelope({"cart": [1], "broken": 0}), KEY)
    sealed_with_garbage = seal(
        Envelope(
            5.0,
            NO_COMMITS,
            {},
            {"ok": msgspec.Raw(encode(1)), "bad": msgspec.Raw(b"\xc7\x03\x0babc")},
        ),
        KEY,
    )
    opened = open_sealed(sealed, KEY)
    assert decode(bytes(opened.data["cart"])) == [1]
    assert opened.commits == [COMMIT]
    assert decode(bytes(open_sealed(sealed_with_garbage, KEY).data["ok"])) == 1


def test_a_record_is_bound_to_its_key() -> None:
    with pytest.raises(CorruptRecord, match="another session"):
        open_sealed(seal(envelope({"user": "alice"}), KEY), OTHER)


def test_every_flipped_bit_and_every_truncation_is_noticed() -> None:
    sealed = seal(envelope({"user": "alice", "cart": [1, 2, {"price": Decimal("9.99")}]}), KEY)
    for position in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((CorruptRecord, UnsupportedFormat)):
            open_sealed(bytes(damaged), KEY)
    for length in range(len(sealed)):
        with pytest.raises(CorruptRecord):
            open_sealed(sealed[:length], KEY)
    with pytest.raises(CorruptRecord):
        open_sealed(sealed + b"\0", KEY)


def test_a_newer_format_is_not_corrupt() -> None:
    sealed = seal(envelope({}), KEY)
    with pytest.raises(UnsupportedFormat, match="deploy"):
        open_sealed(bytes([FORMAT + 1]) + sealed[1:], KEY)


def resealed(body: bytes) -> bytes:
    """A payload whose checksum is right, whatever the body is."""
    from wsgi_sessions.core.record.envelope import _header

    return _header(body, KEY) + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80",
        b"\x05",
        b"\x93\x05\x90\x80",
        msgspec.msgpack.encode([1.0, b"", {}, {1: 2}]),
        msgspec.msgpack.encode(["x", b"", {}, {}]),
        msgspec.msgpack.encode([-1.0, b"", {}, {}]),
        msgspec.msgpack.encode([float("nan"), b"", {}, {}]),
        msgspec.msgpack.encode([float("inf"), b"", {}, {}]),
        msgspec.msgpack.encode([1.0, [[1, 2]], {}, {}]),
        b"\x94\xcb" + bytes(8) + b"\xc4\x00\x80\x81\xa1a" + b"\x91" * 5000,
        pickle.dumps(Bomb()),
    ],
)
def test_a_body_that_is_not_an_envelope_is_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptRecord):
        open_sealed(resealed(body), KEY)


@given(st.binary(max_size=80))
def test_any_payload_opens_or_is_corrupt(payload: bytes) -> None:
    for candidate in (payload, resealed(payload)):
        with contextlib.suppress(CorruptRecord, UnsupportedFormat):
            open_sealed(candidate, KEY)


class OlderEnvelope(msgspec.Struct, array_like=True):
    created_at: float
    history: bytes
    metadata: dict[str, msgspec.Raw]
    data: dict[str, msgspec.Raw]


def test_records_of_a_release_that_knows_no_stamps_open_and_ours_open_there() -> None:
    now = envelope({"cart": [1]})
    older: Any = OlderEnvelope(now.created_at, now.history, now.metadata, now.data)
    opened = open_sealed(seal(older, KEY), KEY)
    assert (opened.data, opened.stamps) == (now.data, {})
    body = seal(Envelope(5.0, now.history, {}, now.data, {"cart": b"t"}), KEY)
    assert msgspec.msgpack.decode(body[5:], type=OlderEnvelope).data == now.data
