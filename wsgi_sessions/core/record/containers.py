"""Encoded containers, opened one level deep: what is in them stays encoded. Pure.

The same value always encodes to the same bytes (see `wsgi_sessions.core.record.codec`), so encoded
values are compared by their bytes, and opening a container is one scan of it in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import decode, encode, has_plain_keys
from wsgi_sessions.core.record.extensions import Extension
from wsgi_sessions.errors import CorruptRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTHS = {0xDC: 2, 0xDD: 4}  # bytes that hold the length of a list of 16 or more items
_EXTENSIONS = {0xC7: 2, 0xC8: 3, 0xC9: 5} | dict.fromkeys(range(0xD4, 0xD9), 1)  # where its code is
_EXTENDED = {Extension.MAPPING: dict, Extension.SET: set, Extension.FROZENSET: frozenset}
_FIRST = (
    dict.fromkeys([*range(0x80, 0x90), 0xDE, 0xDF], dict)
    | dict.fromkeys([*range(0x90, 0xA0), *_WIDTHS], list)
)  # fmt: skip
CONTAINERS = frozenset(_FIRST) | frozenset(_EXTENSIONS)
"""The first bytes of encoded containers, and of some other values; see `kind_of`."""

_mapping_decoder = msgspec.msgpack.Decoder(dict[str, Raw])
_pairs_decoder = msgspec.msgpack.Decoder(list[tuple[Raw, Raw]])
_extension_decoder = msgspec.msgpack.Decoder(msgspec.msgpack.Ext)
_encoder = msgspec.msgpack.Encoder()


@texts.shows("number")
class Items(NamedTuple):
    """The items of a list: their number, and their encodings in a row."""

    number: int
    data: bytes


def kind_of(value: Raw | bytes) -> type | None:
    """Return `dict`, `list`, `set` or `frozenset` if the encoded value is one; else None."""
    view = memoryview(value)
    first = view[0]
    if first in _EXTENSIONS:
        return _EXTENDED.get(view[_EXTENSIONS[first]])
    return _FIRST.get(first)


def opened_mapping(value: Raw) -> Mapping[Any, Raw]:
    """Return the decoded keys of an encoded dictionary, with its values still encoded.

    Raises CorruptRecord.
    """
    try:
        if memoryview(value)[0] not in _EXTENSIONS:
            return _mapping_decoder.decode(value)
        pairs = _pairs_decoder.decode(_extension_decoder.decode(value).data)
        return {decode(key): item for key, item in pairs}
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise CorruptRecord(f"a value does not decode ({type(error).__name__})") from error


def closed_mapping(items: Mapping[Any, Raw]) -> Raw:
    """Return the encoding of a dictionary with encoded values, as `encode` makes it."""
    if has_plain_keys(items):
        return Raw(_encoder.encode(items))
    pairs = [(Raw(encode(key)), item) for key, item in items.items()]
    return Raw(_encoder.encode(msgspec.msgpack.Ext(Extension.MAPPING, _encoder.encode(pairs))))


def opened_list(value: Raw) -> Items:
    """Return the items of an encoded list."""
    data = bytes(value)
    if data[0] not in _WIDTHS:
        return Items(data[0] & 0x0F, data[1:])
    start = 1 + _WIDTHS[data[0]]
    return Items(int.from_bytes(data[1:start], "big"), data[start:])


def closed_list(items: Items) -> Raw:
    """Return the encoding of a list of these items, as `encode` makes it."""
    if items.number < 16:
        head = bytes([0x90 | items.number])
    elif items.number < 1 << 16:
        head = b"\xdc" + items.number.to_bytes(2, "big")
    else:
        head = b"\xdd" + items.number.to_bytes(4, "big")
    return Raw(head + items.data)
