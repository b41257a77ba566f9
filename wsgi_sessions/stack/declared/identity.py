"""The settings of the application's own session keys for users and rights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wsgi_sessions.core.identity_rules import CSRF_TOKENS
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Setting

_KEYS = kinds.several(replace(kinds.PRINTABLE, allowed="session keys in printable ASCII"))

PRINCIPAL_KEY = Setting[Any](
    "WSGI_SESSIONS_PRINCIPAL_KEY",
    kinds.PRINTABLE,
    "the session key in which the application keeps the user",
    None,
)
PRIVILEGE_KEYS = Setting[Any](
    "WSGI_SESSIONS_PRIVILEGE_KEYS",
    _KEYS,
    "session keys with rights, such as role,is_admin: the id changes when their values do",
    (),
)
LOGIN_KEYS = Setting[Any](
    "WSGI_SESSIONS_LOGIN_KEYS",
    kinds.or_off(_KEYS),
    "session keys that name a user: the id changes when one appears",
    None,
    default_text="off; with Flask `user_id,_user_id,username,uid,user,account_id`",
)
LOGIN_DROPS = Setting[Any](
    "WSGI_SESSIONS_LOGIN_DROPS",
    kinds.or_off(_KEYS),
    "session keys dropped when an anonymous visitor logs in: CSRF tokens may have been planted",
    CSRF_TOKENS,
)
