"""The session cookie: read from a request, written, renewed and deleted in a response.

Nothing here knows WSGI or a store. Reading never raises and takes linear time for any header; a
value that does not verify costs no store call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from msgspec import Struct
from werkzeug.http import dump_cookie

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.identity import BareIds, IdSigner, Verified

Secure = Literal["auto", "always", "never"]
SameSite = Literal["Lax", "Strict", "None"]

MAX_AGE_LIMIT = 400 * 24 * 3600
"""The most seconds that a browser keeps a cookie (RFC 6265bis, section 5.5)."""
MAX_COOKIE_BYTES = 4096
"""The most bytes of a cookie that every browser takes (RFC 6265, section 6.1)."""
_KEPT_HEADER_BYTES = 512
MAX_CANDIDATES = 20
"""The most different cookies of our name in a request; with more, all are ignored."""

_SECURE_PREFIXES = ("__secure-", "__host-", "__http-")
_HTTP_PREFIXES = ("__http-", "__host-http-")


class Rule(NamedTuple):
    """The allowed values of a cookie attribute: a pattern, and the same in words."""

    pattern: re.Pattern[str]
    allowed: str


@texts.shows("domain", "path", "partitioned")
class Place(NamedTuple):
    """The place where a browser keeps a cookie.

    With another Domain, Path or Partitioned it is another cookie. Without a `domain` it goes to its
    host alone.
    """

    domain: str | None
    path: str
    partitioned: bool


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
RULES = {
    "name": Rule(
        re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}"),
        "an RFC 6265 token: up to 256 ASCII letters, digits and signs such as - and _",
    ),
    "domain": Rule(
        re.compile(rf"(?=.{{1,253}}\Z)\.?{_LABEL}(?:\.{_LABEL})*"),
        "a host name, without a port, such as example.org (an international one as xn--...)",
    ),
    "path": Rule(
        re.compile(r"/[!-+\--:<-~]{0,1023}"),
        "a path that begins with /, up to 1024 printable ASCII characters without blank, ; and ,",
    ),
}


@dataclass(frozen=True)
class CookiePolicy:
    """The name and the attributes of the session cookie.

    Args:
        name: the cookie's name. Browsers tie the prefixes ``__Host-``, ``__Secure-`` and
            ``__Http-`` (in any case) to Secure: such a cookie always has it.
        secure: "auto" sets Secure on https requests; "always"; "never".
        samesite: "Lax", "Strict" or "None".
        domain: the hosts that get the cookie; None: the host that set it.
        path: the paths that get the cookie.
        partitioned: whether it is kept apart for each top-level site (CHIPS).
        httponly: False lets scripts read the cookie, also injected ones; no environment variable
            asks for that, and no cookie named ``__Http-…`` or ``__Host-Http-…`` may.

    Raises:
        ConfigurationError: a value would break the header, or browsers refuse the combination (RFC
            6265bis sections 4.1.2.7 and 4.1.3; CHIPS). It names every fault at once.
    """

    name: str = "session"
    secure: Secure = "auto"
    samesite: SameSite = "Lax"
    domain: str | None = None
    path: str = "/"
    partitioned: bool = False
    httponly: bool = True

    def __post_init__(self) -> None:
        faults = [*self._bad_values()] or [*self._bad_combinations()]
        if faults:
            raise ConfigurationError("\n".join(faults))

    def values(self, header: str | None) -> list[str]:
        """Return the different raw values of cookies of our name in a Cookie header, in its order.

        Cookies are separated by ``;`` alone (RFC 6265, section 4.2.1): a comma is part of a value,
        so that no other cookie's value can smuggle in one of our name. Two headers that a server
        joined by ``,`` instead of ``;`` therefore name no session.

        Quotes around a value are taken off, as some clients add them (RFC 2109). They protect no
        ``;``, and nothing else is decoded: the values that we issue need neither. Never raises.
        More than `MAX_CANDIDATES` values are an attack or an accident: then there are none.
        """
        # `in` costs a fraction of the pattern, and many requests have other cookies only.
        if not header or self._needle not in header:
            return []
        values = self._findall(header)
        if len(values) == 1:
            return [_bare(values[0])]
        found = dict.fromkeys(map(_bare, values))
        return [*found] if len(found) <= MAX_CANDIDATES else []

    def is_secure(self, scheme: str) -> bool:
        """Return whether the cookie has Secure in a response to a request of this URL scheme."""
        if self.secure == "auto":
            return self._prefixed or scheme == "https"
        return self.secure == "always"

    def set_header(
        self, value: str, *, scheme: str, max_age: int | None, expires: float | None = None
    ) -> str:
        """Return the value of a Set-Cookie header. Raises `ValueError` if browsers would drop it.

        `max_age` is in seconds, capped at 400 days; None makes a cookie that ends with the browser.
        `expires` is the same in seconds since the epoch, for clients that only know that.
        """
        if max_age is not None:
            max_age = min(max_age, MAX_AGE_LIMIT)
        header = self._dump(value, scheme, max_age, expires)
        if len(header) > MAX_COOKIE_BYTES:
            raise ValueError(
                f"the cookie would take {len(header)} bytes; browsers drop it over "
                f"{MAX_COOKIE_BYTES}"
            )
        return header

    def delete_header(self, *, scheme: str, place: Place | None = None) -> str:
        """Return the Set-Cookie value that deletes the cookie from the policy's place.

        With another place, it deletes a cookie of this name from there.
        """
        return self._dump("", scheme, max_age=0, expires=0, place=place)

    @cached_property
    def place(self) -> Place:
        """The place where browsers keep the cookie; the Domain as they compare it."""
        domain = None if self.domain is None else self.domain.lower().lstrip(".")
        return Place(domain, self.path, self.partitioned)

    @cached_property
    def is_host_only(self) -> bool:
        """Whether the name keeps other hosts, and all other places, from having one like it."""
        return self.name.lower().startswith("__host-")

    def _dump(
        self,
        value: str,
        scheme: str,
        max_age: int | None,
        expires: float | None,
        place: Place | None = None,
    ) -> str:
        place = place or self.place
        return dump_cookie(
            self.name,
            value,
            max_age=max_age,
            expires=expires,
            path=place.path,
            domain=place.domain,
            secure=self.is_secure(scheme),
            httponly=self.httponly,
            sync_expires=False,
            max_size=0,
            samesite=self.samesite,
            partitioned=place.partitioned,
        )

    @cached_property
    def _needle(self) -> str:
        return self.name + "="

    @cached_property
    def _findall(self) -> Callable[[str], list[str]]:
        # The name counts only at the begin of a pair, so that neither `=name=x` nor `xname=x`
        # matches. Blanks are matched from one separator to the next only, which keeps this linear.
        return re.compile(rf"(?:\A|;)[ \t]*{re.escape(self.name)}=([^;]*)").findall

    @cached_property
    def _prefixed(self) -> bool:
        return self.name.lower().startswith(_SECURE_PREFIXES)

    def _bad_values(self) -> Iterator[str]:
        for attribute, rule in RULES.items():
            value = getattr(self, attribute)
            if attribute == "domain" and value is None:
                continue
            if not rule.pattern.fullmatch(value):
                yield f"`cookie.{attribute}`={value!a}: must be {rule.allowed}"
        for attribute, choice in (
            ("secure", Secure),
            ("samesite", SameSite),
        ):
            value, allowed = getattr(self, attribute), get_args(choice)
            if value not in allowed:
                yield f"`cookie.{attribute}`={value!a}: must be one of {', '.join(allowed)}"
        for attribute in ("partitioned", "httponly"):
            value = getattr(self, attribute)
            if not isinstance(value, bool):  # "off" would be true
                yield f"`cookie.{attribute}`={value!a}: must be True or False"

    def _bad_combinations(self) -> Iterator[str]:
        if self._prefixed and self.secure == "never":
            yield (
                f"`cookie.secure=never`: a cookie named {self.name} must be Secure: set it to "
                "always, or choose a `cookie.name` without that prefix"
            )
        if self.name.lower().startswith(_HTTP_PREFIXES) and not self.httponly:
            yield (
                f"`cookie.httponly=False`: a cookie named {self.name} must be HttpOnly: leave "
                "that out, or choose a `cookie.name` without that prefix"
            )
        if self.samesite == "None" and self.secure != "always":
            yield f"`cookie.samesite=None` needs `cookie.secure=always`; it is {self.secure}"
        if self.partitioned and self.secure != "always":
            yield f"`cookie.partitioned=True` needs `cookie.secure=always`; it is {self.secure}"
        if self.is_host_only:
            yield from self._not_host_only()

    def _not_host_only(self) -> Iterator[str]:
        why = f"for a cookie named {self.name}"
        if self.path != "/":
            yield f"`cookie.path`={self.path}: must be / {why}"
        if self.domain is not None:
            yield f"`cookie.domain`={self.domain}: must be unset {why}"


CookieState = Literal["absent", "valid", "renew", "foreign", "invalid", "ambiguous"]


@texts.shows("state")
class PresentedCookie(Struct, frozen=True):
    """The session cookie that a request presented.

    `state` is ``absent`` (none of our name), ``valid``, ``renew`` (valid, but signed by an older
    secret: write it again), ``foreign`` (another library's, whose session was taken over: write it
    in our form), ``invalid`` (none verifies) or ``ambiguous`` (several do, with different ids).
    `session_id` is set for ``valid``, ``renew`` and ``foreign``, the raw `value` for ``valid`` and
    ``renew``, and `candidates` for ``ambiguous``: each id once, in the order of the header.
    """

    state: CookieState
    session_id: str | None = None
    value: str | None = None
    candidates: tuple[PresentedCookie, ...] = ()


@dataclass(frozen=True)
class SessionCookie:
    """A cookie of one policy whose value is a signed session id.

    Args:
        policy: the name and the attributes of the cookie.
        signer: signs and verifies the ids.
    """

    policy: CookiePolicy
    signer: IdSigner | BareIds

    def read(self, header: str | None) -> PresentedCookie:
        """Return the result of `examine`, kept for the latest headers.

        A header's result stays the same as long as the secrets do, and a browser sends one header
        many times: most requests are spared the parsing and the HMAC (5 µs).
        """
        if header is None or len(header) > _KEPT_HEADER_BYTES:
            return self.examine(header)
        return self._kept(header)

    @cached_property
    def _kept(self) -> Callable[[str], PresentedCookie]:
        return lru_cache(maxsize=1024)(self.examine)

    def examine(self, header: str | None) -> PresentedCookie:
        """Return the session id in a Cookie header. Never raises.

        Of several cookies of our name, the valid one is used. Of several valid ones, only the store
        knows which one counts: see `http.cookies.twins`.
        """
        values = self.policy.values(header)
        if not values:
            return PresentedCookie("absent")
        verified = [(value, found) for value in values if (found := self.signer.examine(value))]
        if not verified:
            return PresentedCookie("invalid")
        if len(verified) == 1:
            return _presented(*verified[0])
        by_id: dict[str, tuple[str, Verified]] = {}
        for value, found in verified:
            # Canonical signatures differ, so at most one cookie of an id is current.
            if found.is_current or found.session_id not in by_id:
                by_id[found.session_id] = (value, found)
        candidates = tuple(_presented(*pair) for pair in by_id.values())
        return (
            candidates[0]
            if len(candidates) == 1
            else PresentedCookie("ambiguous", None, None, candidates)
        )

    def write(
        self, session_id: str, *, scheme: str, max_age: int | None, expires: float | None = None
    ) -> str:
        """Return the Set-Cookie value that hands out this id, signed with the newest secret."""
        value = self.signer.sign(session_id)
        return self.policy.set_header(value, scheme=scheme, max_age=max_age, expires=expires)

    def delete(self, *, scheme: str) -> str:
        """Return the Set-Cookie value that deletes the cookie."""
        return self.policy.delete_header(scheme=scheme)


def _bare(value: str) -> str:
    """Return a value of a Cookie header without trailing blanks and quotes."""
    value = value.rstrip(" \t")
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _presented(value: str, found: Verified) -> PresentedCookie:
    return PresentedCookie("valid" if found.is_current else "renew", found.session_id, value)
