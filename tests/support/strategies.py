"""Hypothesis strategies for what a session may hold."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from markupsafe import Markup

ZONES = [timezone.utc, timezone(timedelta(hours=2)), timezone(timedelta(0), "X")]
ZONES += [timezone(timedelta(hours=-5, minutes=-30), "Here"), ZoneInfo("Europe/Berlin")]  # type: ignore[list-item]

# All code points, lone surrogates too: Python strings may hold them.
any_text = st.text(st.characters(), max_size=20)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**66),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(),
    any_text,
    st.binary(max_size=20),
    st.datetimes(timezones=st.none() | st.sampled_from(ZONES)),
    st.dates(),
    st.times(),
    st.times(timezones=st.sampled_from(ZONES)),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    any_text.map(Markup),
)
# NaN is left out where it would be a key: it is not equal to itself.
hashables = st.one_of(
    st.integers(),
    any_text,
    st.binary(max_size=8),
    st.dates(),
    st.uuids(),
    st.tuples(st.integers(), any_text),
    st.frozensets(st.integers(), max_size=3),
)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=4).map(tuple),
        st.dictionaries(any_text, children, max_size=4),
        st.dictionaries(hashables, children, max_size=3),
        st.sets(hashables, max_size=4),
        st.frozensets(hashables, max_size=4),
    )


values: st.SearchStrategy[Any] = st.recursive(scalars, _containers, max_leaves=12)
keys = st.text("abcdef", min_size=1, max_size=2)
"""Few different ones, so that both sides of a merge meet."""
session_data = st.dictionaries(keys, values, max_size=5)
