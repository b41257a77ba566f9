"""The session cookie: what requests may present, and what responses say."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_cookie

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.cookies.session_cookie import (
    MAX_AGE_LIMIT,
    MAX_CANDIDATES,
    MAX_COOKIE_BYTES,
    CookiePolicy,
    PresentedCookie,
    SameSite,
    Secure,
    SessionCookie,
)
from wsgi_sessions.identity import IdSigner, new_id

OLD, NEW = "old-secret-" + "o" * 32, "new-secret-" + "n" * 32
ALICE, BOB = "A" * 40, "B" * 40
S = CookiePolicy(name="s")
HOST = CookiePolicy(name="__Host-s")

latin1 = st.text(st.characters(max_codepoint=0xFF))
tokens = st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,20}", fullmatch=True)


def cookie(*secrets: str, name: str = "s") -> SessionCookie:
    return SessionCookie(CookiePolicy(name=name), IdSigner(secrets or (NEW,)))


# -- the Cookie header -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (None, []),
        ("", []),
        (" ", []),
        ("s=x", ["x"]),
        ("a=1; s=x; b=2", ["x"]),
        ("a=1;s=x;b=2", ["x"]),
        ("\t s=x", ["x"]),
        ("; ; ;s=x", ["x"]),
        ("s=x ; b=2", ["x"]),
        ("s", []),
        ("s; s", []),
        ("s=", [""]),
        ("s=; s=x", ["", "x"]),
        ("=s=x", []),
        ("==x; s=ok", ["ok"]),
        ("=s", []),
        ("S=x", []),
        ("%73=x", []),
        ("s%3Dx", []),
        ("as=x; s-=y; s.s=z", []),
        ("a s=x", []),
        ("s=x; s=x", ["x"]),
        ("s=x; s=y", ["x", "y"]),
        ("s=y; s=x; s=y", ["y", "x"]),
        ("a=1, s=x", []),
        ("s=x, s=y; s=z", ["x, s=y", "z"]),
        ("s=x,b=2", ["x,b=2"]),
        ('j={"s": 1, "t": [2]}; s=x', ["x"]),
        ("a=\xff\xfe; s=x; \xff", ["x"]),
        ("novalue; s=x; novalue", ["x"]),
        ("a=\x00; s=x", ["x"]),
        ("s=x\x00y", ["x\x00y"]),
        ("a=b\r\n; s=x", ["x"]),
        ("a=b\r\ns=x", []),
        ("s=x\ny", ["x\ny"]),
        ('s="x"', ["x"]),
        ('s="x" ; b=2', ["x"]),
        ('s="x"; s=x', ["x"]),
        ('s="', ['"']),
        ('s=""', [""]),
        ('s="x', ['"x']),
        ('s=x"', ['x"']),
        ('s="x;y"', ['"x']),
        ('$Version="1"; s="x"; $Path="/"', ["x"]),
        ('a="; s=x', ["x"]),
        ('a="\\"; s=x; b="', ["x"]),
        ("s=%41", ["%41"]),
        ("s=a=b", ["a=b"]),
        ("$Version=1; s=x; $Path=/", ["x"]),
        ("s =x", []),
        ("s= x", [" x"]),
        ("s = x", []),
        ("s=\uff11", ["\uff11"]),
    ],
)
def test_the_values_of_our_name(header: str | None, values: list[str]) -> None:
    assert S.values(header) == values


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("=__Host-s=bad; __Host-s=good", ["good"]),
        ("%5F_Host-s=bad; __Host-s=good", ["good"]),
        ("__host-s=bad", []),
        ("__HOST-S=bad; __Host-s=good", ["good"]),
        ("==__Host-s=bad", []),
    ],
)
def test_a_prefix_cannot_be_feigned(header: str, values: list[str]) -> None:
    assert HOST.values(header) == values


@pytest.mark.parametrize("name", ["a.b", "a*", "a+", "^", "$Path", "|", "a|s", "~"])
def test_signs_in_a_name_mean_themselves(name: str) -> None:
    policy = CookiePolicy(name=name)
    assert policy.values(f"x=1; {name}=x; axb=y; aa=z; s=t") == ["x"]


def test_up_to_twenty_values_are_looked_at() -> None:
    header = "; ".join(f"s={i}" for i in range(MAX_CANDIDATES))
    assert S.values(header) == [str(i) for i in range(MAX_CANDIDATES)]
    assert S.values(header + "; s=0") == [str(i) for i in range(MAX_CANDIDATES)]
    assert S.values(header + "; s=more") == []


@given(latin1)
@example("s=" * 100)
@example(";" * 100 + "s=")
def test_any_header_gives_parts_of_itself(header: str) -> None:
    for value in S.values(header):
        assert "s=" + value in header or f's="{value}"' in header
        assert ";" not in value


@given(st.lists(st.tuples(st.sampled_from(["s", "S", "t", "", "=s", " s"]), latin1), max_size=8))
def test_any_pairs_give_the_values_of_our_own_in_order(pairs: list[tuple[str, str]]) -> None:
    plain = [(key, "".join(c for c in value if c not in '; \t"')) for key, value in pairs]
    header = ";".join(f"{key}={value}" for key, value in plain)
    ours = [value for key, value in plain if key.strip() == "s"]
    assert S.values(header) == list(dict.fromkeys(ours))


@given(tokens, st.from_regex(r"[A-Za-z0-9_.-]{1,50}", fullmatch=True))
def test_a_set_value_is_read_back(name: str, value: str) -> None:
    policy = CookiePolicy(name=name, secure="always" if name.lower().startswith("__") else "auto")
    pair = policy.set_header(value, scheme="https", max_age=None).partition(";")[0]
    assert policy.values(pair) == [value]
    assert parse_cookie(pair)[name] == value


def seconds(header: str) -> float:
    """The processor time of reading it once."""
    start = time.process_time()
    cookie().read(header)
    return time.process_time() - start


@pytest.mark.parametrize(
    "unit",
    [
        "\\",
        '"\\',
        "s=",
        ";s=x",
        "; ",
        ";",
        ",",
        " ",
        "\t",
        "s",
        " s",
        "=",
        ";s",
        's="\\";',
        "; s =",
    ],
)
def test_reading_takes_linear_time(unit: str) -> None:
    """One quadratic step over these 60 KB takes seconds, a linear one a millisecond or two."""
    for start in ("", "s=", ";", '; s="'):
        header = start + unit * (60_000 // len(unit))
        assert min(seconds(header) for _ in range(3)) < 0.1


def test_sixty_kilobytes_of_backslashes_take_less_than_ten_milliseconds() -> None:
    assert min(seconds('s="' + "\\" * 60_000) for _ in range(5)) < 0.01


@pytest.mark.parametrize("name", ["s", "t"])
def test_ten_thousand_pairs_are_anonymous_or_ignored(name: str) -> None:
    header = "; ".join(f"{name}={i}" for i in range(10_000))
    ours = cookie()
    assert ours.read(header).state == "absent"
    found = ours.read(f"{header}; s={ours.signer.sign(ALICE)}")
    assert found.session_id == (None if name == "s" else ALICE)


# -- reading a session id --------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "t=1", "s"])
def test_no_cookie_of_our_name_is_absent(header: str | None) -> None:
    assert cookie().read(header) == PresentedCookie("absent")


def test_a_signed_id_is_valid() -> None:
    ours = cookie()
    value = ours.signer.sign(ALICE)
    assert ours.read(f"a=1; s={value}; b=2") == PresentedCookie("valid", ALICE, value)


@pytest.mark.parametrize(
    "make",
    [
        lambda value: value[:0],
        lambda value: value[:1],
        lambda value: f'"{value}',
        lambda value: f'""{value}""',
        lambda value: f" {value}",
        lambda value: value + "\x00",
        lambda value: value + "\n",
        lambda value: value + "\xff",
        lambda value: value[:-1] + "\xff",
        lambda value: value + "=",
        lambda value: value.replace(".", "%2E"),
        lambda value: value.swapcase(),
        lambda value: value[:40],
        lambda value: value * 750,
        lambda value: value[41:] + "." + value[:40],
    ],
)
def test_a_value_that_does_not_verify_is_invalid(make: Any) -> None:
    ours = cookie()
    assert ours.read("s=" + make(ours.signer.sign(ALICE))) == PresentedCookie("invalid")


@given(latin1)
def test_any_header_is_anonymous(header: str) -> None:
    assert cookie().read(header).session_id is None


@given(latin1)
def test_any_other_cookie_before_or_after_does_no_harm(other: str) -> None:
    ours = cookie()
    pair = f"s={ours.signer.sign(ALICE)}"
    assert ours.read(f"{other};{pair}").session_id == ALICE
    assert ours.read(f"{pair};{other}").session_id == ALICE


@pytest.mark.parametrize("template", ["s=bad; s={}", "s={}; s=bad", "s=; s={}; s=bad; s={}"])
def test_the_one_that_verifies_is_used(template: str) -> None:
    ours = cookie()
    value = ours.signer.sign(ALICE)
    assert ours.read(template.format(value, value)) == PresentedCookie("valid", ALICE, value)


@pytest.mark.parametrize("separator", ["; ", ";"])
@pytest.mark.parametrize("ids", [(ALICE, BOB), (BOB, ALICE), (ALICE, BOB, ALICE)])
def test_two_valid_ids_are_ambiguous_in_the_order_of_the_header(
    ids: tuple[str, ...], separator: str
) -> None:
    ours = cookie()
    header = separator.join(f"s={ours.signer.sign(session_id)}" for session_id in ids)
    found = ours.read(header)
    assert (found.state, found.session_id) == ("ambiguous", None)
    assert [each.session_id for each in found.candidates] == list(dict.fromkeys(ids))
    assert ALICE not in repr(found)


def test_an_older_signature_of_one_of_two_ids_is_to_be_renewed() -> None:
    both = f"s={IdSigner([OLD]).sign(ALICE)}; s={IdSigner([NEW]).sign(BOB)}"
    found = cookie(OLD, NEW).read(both)
    assert [(each.state, each.session_id) for each in found.candidates] == [
        ("renew", ALICE),
        ("valid", BOB),
    ]


def test_rotation_asks_for_a_new_signature() -> None:
    session_id = new_id()
    before, during, after = cookie(OLD), cookie(OLD, NEW), cookie(NEW)
    value = before.signer.sign(session_id)
    assert during.read(f"s={value}") == PresentedCookie("renew", session_id, value)
    renewed = during.write(session_id, scheme="https", max_age=None).partition(";")[0]
    assert during.read(renewed).state == "valid"
    assert after.read(renewed).state == "valid"
    assert after.read(f"s={value}") == PresentedCookie("invalid"), "a retired secret still verifies"


@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)])
def test_one_id_signed_by_two_secrets_is_not_ambiguous(order: tuple[str, str]) -> None:
    header = "; ".join(f"s={IdSigner([secret]).sign(ALICE)}" for secret in order)
    found = cookie(OLD, NEW).read(header)
    assert found == PresentedCookie("valid", ALICE, IdSigner([NEW]).sign(ALICE))


# -- the Set-Cookie header -------------------------------------------------------------------------


def attributes(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header.split(";")[1:])
    return {key: value for key, _, value in pairs}


def test_a_cookie_says_how_it_may_be_used() -> None:
    header = cookie().write(ALICE, scheme="http", max_age=3600)
    assert header.startswith(f"s={IdSigner([NEW]).sign(ALICE)}; ")
    assert attributes(header) == {
        "Max-Age": "3600",
        "HttpOnly": "",
        "Path": "/",
        "SameSite": "Lax",
    }


def test_without_an_age_it_ends_with_the_browser() -> None:
    assert not attributes(S.set_header("x", scheme="http", max_age=None)).keys() & {
        "Max-Age",
        "Expires",
    }


def test_the_age_is_capped_at_400_days() -> None:
    header = S.set_header("x", scheme="http", max_age=10 * 365 * 86400)
    assert attributes(header)["Max-Age"] == str(MAX_AGE_LIMIT) == str(400 * 86400)


FULL = CookiePolicy(
    name="s", secure="always", samesite="None", domain="example.org", path="/a", partitioned=True
)


@pytest.mark.parametrize("policy", [S, HOST, FULL, CookiePolicy(samesite="Strict", path="/x")])
def test_it_is_deleted_with_the_attributes_it_was_set_with(policy: CookiePolicy) -> None:
    set_ = attributes(policy.set_header("x", scheme="https", max_age=None))
    deletion = policy.delete_header(scheme="https")
    deleted = attributes(deletion)
    assert deletion.startswith(f"{policy.name}=;")
    assert deleted.pop("Max-Age") == "0"
    assert deleted.pop("Expires") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert deleted == set_


def test_every_attribute_is_sent() -> None:
    assert attributes(FULL.set_header("x", scheme="http", max_age=None)) == {
        "Domain": "example.org",
        "Secure": "",
        "HttpOnly": "",
        "Path": "/a",
        "SameSite": "None",
        "Partitioned": "",
    }


@pytest.mark.parametrize(
    ("name", "secure", "http", "https"),
    [
        ("s", "auto", False, True),
        ("s", "always", True, True),
        ("s", "never", False, False),
        ("__Host-s", "auto", True, True),
        ("__host-s", "auto", True, True),
        ("__Secure-s", "auto", True, True),
        ("__SECURE-s", "auto", True, True),
        ("__Http-s", "auto", True, True),
        ("__Hosts", "auto", False, True),
    ],
)
def test_when_it_is_secure(name: str, secure: Secure, http: bool, https: bool) -> None:
    policy = CookiePolicy(name=name, secure=secure)
    for scheme, expected in (("http", http), ("https", https)):
        assert policy.is_secure(scheme) is expected
        assert (
            "Secure" in attributes(policy.set_header("x", scheme=scheme, max_age=1))
        ) is expected
        assert ("Secure" in attributes(policy.delete_header(scheme=scheme))) is expected


def test_a_cookie_that_browsers_would_drop_is_refused() -> None:
    rest = len(S.set_header("", scheme="http", max_age=1))
    fits = "x" * (MAX_COOKIE_BYTES - rest)
    assert len(S.set_header(fits, scheme="http", max_age=1)) == MAX_COOKIE_BYTES
    with pytest.raises(ValueError, match="4097 bytes"):
        S.set_header(fits + "x", scheme="http", max_age=1)


def test_the_largest_policy_leaves_room_for_a_signed_id() -> None:
    policy = CookiePolicy(
        name="n" * 256,
        secure="always",
        samesite="Strict",
        domain=".".join(["d" * 60] * 4),
        path="/" + "p" * 1023,
        partitioned=True,
    )
    ours = SessionCookie(policy, IdSigner([NEW]))
    assert len(ours.write(ALICE, scheme="https", max_age=MAX_AGE_LIMIT)) < MAX_COOKIE_BYTES


# -- policies --------------------------------------------------------------------------------------

BREAKING = [
    "",
    "\r",
    "\n",
    "a\r\nSet-Cookie: x=y",
    "a;b",
    "a,b",
    "a b",
    "a\x00",
    "a\x7f",
    "a\t",
    "é",
]


@pytest.mark.parametrize("text", [*BREAKING, "a=b", '"a"', "a@b", "(a)", "[a]", "{a}", "a" * 257])
def test_a_name_that_is_not_a_token_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^`cookie\.name`=.*token") as caught:
        CookiePolicy(name=text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", [*("/" + text for text in BREAKING[1:]), "", "a", "/" + "a" * 1024]
)
def test_a_path_that_breaks_the_header_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^`cookie\.path`=.*begins with /"):
        CookiePolicy(path=text)


@pytest.mark.parametrize(
    "text",
    [
        *BREAKING,
        "example.org:80",
        "-a.org",
        "a-.org",
        "a..org",
        "..a",
        ".",
        "a.",
        "[::1]",
        "münchen.de",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "http://a",
        "*",
        "a_b",
        "a\n",
    ],
)
def test_a_domain_that_is_not_a_host_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^`cookie\.domain`=.*host name"):
        CookiePolicy(domain=text)


@pytest.mark.parametrize("text", ["example.org", ".example.org", "localhost", "xn--mnchen-3ya.de"])
def test_host_names_are_taken(text: str) -> None:
    sent = attributes(CookiePolicy(domain=text).set_header("x", scheme="http", max_age=None))
    assert sent["Domain"] == text.lstrip(".")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"samesite": "None"}, ["cookie.samesite", "cookie.secure"]),
        ({"samesite": "None", "secure": "never"}, ["cookie.samesite", "cookie.secure"]),
        ({"partitioned": True}, ["cookie.partitioned", "cookie.secure"]),
        ({"partitioned": True, "secure": "never"}, ["cookie.partitioned", "cookie.secure"]),
        ({"name": "__Host-s", "path": "/a"}, ["cookie.path"]),
        ({"name": "__Host-s", "domain": "a.org"}, ["cookie.domain"]),
        ({"name": "__hOST-s", "domain": "a.org"}, ["cookie.domain"]),
        ({"name": "__Host-Http-s", "domain": "a.org"}, ["cookie.domain"]),
        ({"name": "__Host-s", "secure": "never"}, ["cookie.secure", "cookie.name"]),
        ({"name": "__secure-s", "secure": "never"}, ["cookie.secure", "cookie.name"]),
        ({"name": "__Http-s", "secure": "never"}, ["cookie.secure", "cookie.name"]),
        ({"name": "__Host-s", "path": "/a", "domain": "a.org"}, ["cookie.path", "cookie.domain"]),
        ({"secure": "maybe"}, ["cookie.secure", "auto, always, never"]),
        ({"samesite": "lax"}, ["cookie.samesite", "Lax, Strict, None"]),
        ({"partitioned": "on"}, ["cookie.partitioned", "True or False"]),
        ({"httponly": "off"}, ["cookie.httponly", "True or False"]),
        (
            {"name": "a;b", "path": "x", "secure": 1},
            ["cookie.name", "cookie.path", "cookie.secure"],
        ),
    ],
)
def test_combinations_that_browsers_refuse_are_refused_with_every_name(
    arguments: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CookiePolicy(**arguments)
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["__Http-s", "__Host-Http-s", "__hOsT-hTTp-s"])
def test_a_name_that_promises_httponly_is_refused_without(name: str) -> None:
    assert CookiePolicy(name=name).is_secure("http")
    header = CookiePolicy(name=name).set_header("v", scheme="http", max_age=None)
    assert "; HttpOnly" in header
    assert "; Secure" in header
    with pytest.raises(ConfigurationError, match=r"^`cookie\.httponly=False`: .*HttpOnly"):
        CookiePolicy(name=name, httponly=False)


def test_the_host_rules_hold_for_host_http_names_too() -> None:
    with pytest.raises(ConfigurationError, match="must be /"):
        CookiePolicy(name="__Host-Http-s", path="/app")
    CookiePolicy(name="__Http-s", path="/app")


@pytest.mark.parametrize("samesite", get_args(SameSite))
def test_with_secure_always_everything_goes_together(samesite: SameSite) -> None:
    CookiePolicy(name="__Host-s", secure="always", samesite=samesite, partitioned=True)
    CookiePolicy(name="__Secure-s", secure="always", samesite=samesite, domain="a.org", path="/a")


def test_a_policy_is_a_value() -> None:
    one, other = CookiePolicy(), CookiePolicy()
    one.values("session=x")
    assert one == other
    assert hash(one) == hash(other)
