"""The device of a session, named after the browser that a user logs in with."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsgi_sessions import texts
from wsgi_sessions.core.limits.labels import label_of, set_label
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.core.transaction import Transaction

    NameDevice = Callable[[str], "str | None"]

_HEADER_LENGTH = 256  # a client sends what it likes, and patterns search all of it
_log = texts.log(__name__)


def label_device(
    transaction: Transaction, environ: Mapping[str, Any], name_device: NameDevice
) -> None:
    """Label the session of a user by the request's User-Agent header, unless it has a label.

    The label goes with the commit of a log-in, or of a later change, and is never the reason for
    one. If `name_device` fails or gives None, there is no label.
    """
    agent = environ.get("HTTP_USER_AGENT", "")
    transaction.when_committing(partial(_label, transaction, agent, name_device))


def _label(transaction: Transaction, user_agent: str, name_device: NameDevice) -> None:
    draft = transaction.draft()
    if label_of(draft) is not None or not draft.is_changed() or transaction.owner() is None:
        return
    try:
        name = name_device(user_agent[:_HEADER_LENGTH])
    except Exception as error:  # noqa: BLE001  # any: a log-in does not fail for want of a label
        _log.warning("a session gets no label: %s for its User-Agent", type(error).__name__)
        return
    if name:
        set_label(draft, texts.named(name))


def browser_namer() -> NameDevice:
    """Return a function that names a browser by its User-Agent header: ``Firefox on Linux``.

    Without versions, which change with each update. The header is a client's own claim. Raises
    ConfigurationError if ua-parser is not installed.
    """
    try:
        parser: Any = import_module("ua_parser")
    except ModuleNotFoundError:
        raise ConfigurationError(
            "`label_devices` needs ua-parser: pip install 'wsgi-sessions[devices]'"
        ) from None

    def name(user_agent: str) -> str | None:
        found = parser.parse(user_agent)
        return " on ".join(part.family for part in (found.user_agent, found.os) if part) or None

    return name
