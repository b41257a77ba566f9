"""Response headers that go with a session cookie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions.http.headers import (
    Headers,
    private_cache_headers,
    vary_on_cookie,
    without_cookie,
)

CC = "Cache-Control"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(CC, "private")]),
        ([("A", "b")], [("A", "b"), (CC, "private")]),
        ([(CC, "public")], [(CC, "private")]),
        ([(CC, "")], [(CC, "private")]),
        ([(CC, "Public, Max-Age=60")], [(CC, "private, Max-Age=60")]),
        ([(CC, "max-age=60, s-maxage=9")], [(CC, "private, max-age=60")]),
        ([(CC, "S-MaxAge=9")], [(CC, "private")]),
        ([(CC, "no-cache")], [(CC, "private, no-cache")]),
        ([(CC, "private, max-age=5")], [(CC, "private, max-age=5")]),
        ([(CC, "PRIVATE")], [(CC, "PRIVATE")]),
        ([(CC, "no-store")], [(CC, "no-store")]),
        ([(CC, "No-Store, max-age=0")], [(CC, "No-Store, max-age=0")]),
        ([(CC, "private, public")], [(CC, "private")]),
        ([(CC, "private, s-maxage=60")], [(CC, "private")]),
        ([(CC, 'private="A, B", max-age=5')], [(CC, "private, max-age=5")]),
        ([(CC, 'ext="public, x"')], [(CC, 'private, ext="public, x"')]),
        ([(CC, 'ext="private, x"')], [(CC, 'private, ext="private, x"')]),
        (
            [("cache-control", "public"), ("A", "b"), (CC, "max-age=1")],
            [(CC, "private, max-age=1"), ("A", "b")],
        ),
        ([(CC, "private"), ("CDN-Cache-Control", "max-age=600")], [(CC, "private")]),
        ([(CC, "no-store"), ("cdn-cache-control", "public")], [(CC, "no-store")]),
        ([("Surrogate-Control", "max-age=60")], [(CC, "private")]),
        ([("Cloudflare-CDN-Cache-Control", "max-age=60")], [(CC, "private")]),
        ([("Edge-Control", "cache-maxage=1h")], [(CC, "private")]),
        ([("X-Accel-Expires", "60")], [(CC, "private")]),
        ([("X-Accel-Expires", "0")], [("X-Accel-Expires", "0"), (CC, "private")]),
        (
            [("CDN-Cache-Control", "no-store")],
            [("CDN-Cache-Control", "no-store"), (CC, "private")],
        ),
    ],
)
def test_no_shared_cache_may_store_it(before: Headers, after: Headers) -> None:
    passed = [*before]
    assert private_cache_headers(passed) == after
    assert passed == before
    assert private_cache_headers(after) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [("Vary", "Cookie")]),
        ([("Vary", "")], [("Vary", "Cookie")]),
        ([("vary", "Accept"), ("A", "b")], [("Vary", "Accept, Cookie"), ("A", "b")]),
        ([("Vary", "A"), ("X", "y"), ("VARY", "B")], [("Vary", "A, B, Cookie"), ("X", "y")]),
        ([("Vary", "cookie")], [("Vary", "cookie")]),
        ([("Vary", "Accept,COOKIE")], [("Vary", "Accept,COOKIE")]),
        ([("Vary", "Accept"), ("Vary", "Cookie")], [("Vary", "Accept"), ("Vary", "Cookie")]),
        ([("Vary", "*")], [("Vary", "*")]),
        ([("Vary", "X-Cookie")], [("Vary", "X-Cookie, Cookie")]),
    ],
)
def test_it_varies_on_the_cookie(before: Headers, after: Headers) -> None:
    passed = [*before]
    assert vary_on_cookie(passed) == after
    assert passed == before


@pytest.mark.parametrize(
    ("value", "goes"),
    [
        ("s=x", True),
        ("s=x; Path=/", True),
        (" s =x", True),
        ("s=", True),
        ("S=x", False),
        ("ss=x", False),
        ("t=s=x", False),
        ("t=1; s=x", False),
        ("=s=x", False),
        ("s", False),
        ("", False),
    ],
)
def test_a_cookie_of_our_name_that_the_application_set_goes(value: str, goes: bool) -> None:
    before = [("A", "s=x"), ("set-COOKIE", value), ("Set-Cookie", "other=1")]
    passed = [*before]
    assert without_cookie(passed, "s") == [before[0], *before[1 + goes :]]
    assert passed == before


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Vary", CC, "Set-Cookie", "CDN-Cache-Control", "A"]),
            st.text(st.characters(max_codepoint=0xFF)),
        )
    )
)
def test_any_headers_are_taken_and_always_a_new_list_is_given(headers: Headers) -> None:
    before = [*headers]
    for result in (
        private_cache_headers(headers),
        vary_on_cookie(headers),
        without_cookie(headers, "s"),
    ):
        assert result is not headers
        assert [h for h in result if h[0] == "A"] == [h for h in before if h[0] == "A"]
    assert headers == before
