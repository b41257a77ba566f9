"""Readers: the requests that see what is not for strangers."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Audience = Literal["local", "token", "all"]
"""Requests from this host itself, or with the token; with the token alone; or all."""

_FORWARDED_PREFIX = "HTTP_X_FORWARDED"
_FORWARDED = frozenset(
    f"HTTP_{name}"
    for name in (
        *("FORWARDED", "FORWARDED_FOR", "VIA", "X_REAL_IP", "X_CLIENT_IP", "CLIENT_IP"),
        *("X_CLUSTER_CLIENT_IP", "X_ORIGINAL_FORWARDED_FOR", "X_ENVOY_EXTERNAL_ADDRESS"),
        *("CF_CONNECTING_IP", "TRUE_CLIENT_IP", "FASTLY_CLIENT_IP", "FLY_CLIENT_IP"),
        *("X_AZURE_CLIENTIP", "X_APPENGINE_USER_IP", "X_ORIGINAL_HOST", "CDN_LOOP"),
    )
)
"""Headers by which proxies name the client that they speak for; a client can send them too."""


class Readers:
    """The requests of an audience. The token is sent as ``Authorization: Bearer …``.

    A request is from this host if REMOTE_ADDR is a loopback address and no header says that a proxy
    forwarded it. Not promised: recognition of a proxy on this host that sends no such header, or
    whose headers the server drops (as Waitress does without ``trusted_proxy``).
    """

    def __init__(self, audience: Audience, token: str | None = None) -> None:
        self._audience = audience
        self._token = None if token is None else token.encode()

    def include(self, environ: WSGIEnvironment) -> bool:
        """Return whether a request is one of them."""
        if self._audience == "all" or (self._audience == "local" and _is_local(environ)):
            return True
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        # The received bytes (PEP 3333), compared in constant time.
        return hmac.compare_digest(given.strip(" ").encode("latin-1", "replace"), self._token)


def _is_local(environ: WSGIEnvironment) -> bool:
    """Return whether the client is on this host, and is not a proxy."""
    if any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name in environ):
        return False
    try:
        address = ip_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return False  # as of a socket file, which proxies use
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
