"""Bytes that this process has opened or sealed before are not opened again."""

from __future__ import annotations

import msgspec
import pytest

from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope, open_sealed, seal
from wsgi_sessions.core.record.envelopes import Envelopes
from wsgi_sessions.errors import CorruptRecord

KEY, OTHER = "a" * 64, "b" * 64


def envelope(value: object) -> Envelope:
    return Envelope(5.0, b"", {}, {"value": msgspec.Raw(encode(value))})


def test_the_same_bytes_of_a_session_are_opened_once() -> None:
    envelopes, payload = Envelopes(), seal(envelope(1), KEY)
    opened = envelopes.open(payload, KEY)
    assert opened == open_sealed(payload, KEY)
    assert envelopes.open(bytes(bytearray(payload)), KEY) is opened


def test_a_sealed_record_need_not_be_opened() -> None:
    envelopes, sealed = Envelopes(), envelope(1)
    assert envelopes.open(envelopes.seal(sealed, KEY), KEY) is sealed


def test_other_bytes_are_another_session() -> None:
    envelopes = Envelopes()
    envelopes.seal(envelope(1), KEY)
    assert envelopes.open(seal(envelope(2), KEY), KEY) == envelope(2)


def test_the_bytes_of_one_session_are_damage_under_the_key_of_another() -> None:
    envelopes = Envelopes()
    payload = envelopes.seal(envelope(1), KEY)
    with pytest.raises(CorruptRecord, match="another session"):
        envelopes.open(payload, OTHER)


def test_damaged_bytes_are_never_taken_for_those_before() -> None:
    envelopes = Envelopes()
    payload = envelopes.seal(envelope(1), KEY)
    with pytest.raises(CorruptRecord):
        envelopes.open(payload[:-1] + bytes([payload[-1] ^ 1]), KEY)


def test_memory_is_bounded_in_sessions_and_in_their_size() -> None:
    envelopes = Envelopes()
    large = envelopes.seal(envelope("x" * 5000), KEY)
    assert envelopes.open(large, KEY) is not envelopes.open(large, KEY)
    first = envelopes.seal(envelope(0), KEY)
    kept = envelopes.open(first, KEY)
    for number in range(600):
        envelopes.seal(envelope(number), f"{number:064}")
    assert envelopes.open(first, KEY) is not kept
