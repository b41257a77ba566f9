"""The paths and hosts that a browser sends a cookie to (RFC 6265, section 5.1)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy


def covers_path(policy: CookiePolicy, path: str) -> bool:
    """Return whether a browser sends the cookie to a path (RFC 6265, section 5.1.4)."""
    return f"{path}/".startswith(f"{policy.path.rstrip('/')}/")


def covers_host(policy: CookiePolicy, host: str) -> bool:
    """Return whether a browser takes and sends the cookie for a host, port or not (5.1.3)."""
    domain = policy.place.domain
    return domain is None or f".{_without_port(host)}".endswith(f".{domain}")


def is_public(host: str) -> bool:
    """Return whether a name has dots: neither a proxy's backend name nor an address."""
    name = _without_port(host)
    if "." not in name.strip("."):
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return True
    return False


def _without_port(host: str) -> str:
    host = host.strip().lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host
