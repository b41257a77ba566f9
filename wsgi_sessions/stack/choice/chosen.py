"""One of several session stores, the same one in all processes that could share sessions.

If `Config.url` names several, the first healthy one is used. The first process determines it once;
all others with the same stores (see `agreement`) use the same one while any of them lives, whatever
happens to the stores: restarted workers, a new server beside an old one, a command. A running
process never switches.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError, SessionError
from wsgi_sessions.health import checker as health
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.choice.acceptance import not_before
from wsgi_sessions.stack.choice.agreement import agree, standing
from wsgi_sessions.stack.choice.history import History
from wsgi_sessions.stores.named import of_application
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, Purpose
    from wsgi_sessions.stack.config import Config

_URL = "WSGI_SESSIONS_URL"
_USER = re.compile(r"(?<=://)[^/?#]*@")
_DECIDING = 10.0  # seconds in addition to the checks
logger = texts.log(__name__)


class Chosen(NamedTuple):
    """The store in use: the configuration with only its URL, and its backend."""

    config: Config
    backend: Backend


@texts.shows("place")
class Choice(msgspec.Struct, frozen=True, tag="choice.v1"):
    """The chosen URL, by its place in the list, and the faults of others.

    `faults` are in the order of the list: those of URLs before the chosen one, or of all.
    """

    place: int
    faults: list[str]


def open_chosen(config: Config, purpose: Purpose = "use") -> Chosen:
    """Open the store that a configuration names; of several, the one in use.

    A single store is not contacted. Of several, the first that passes `health.check` within
    `config.health.timeout` is used; if none does, the first one, which may come back. A log line
    says which, and what is wrong with the others. With `purpose` "look", the store is the one that
    others agreed on, or the first that answers, and nothing is agreed.

    Opening it to "change" sessions, which may end some, leaves the other stores: sessions that they
    hold at that time are no longer accepted if they are used again (see `history`). Opening it to
    "use" or to "look" leaves no store.

    Raises ConfigurationError for an impossible URL (that of a familiar variable is skipped), and if
    processes cannot agree. Raises LockTimeout if another process is stuck while deciding.
    """
    if len(config.urls) == 1:
        return Chosen(config, _open(config, purpose))
    _refuse_memory(config)
    if purpose == "look":
        return _looked_up(config)
    agreed = agree(
        config.choice_folder or default_folder(),
        _name(config),
        lambda: msgspec.json.encode(_decide(config)).decode(),
        timeout=_DECIDING + len(config.urls) * config.health.timeout,
    )
    choice = _read(agreed.text, len(config.urls))
    _report(choice, config.urls, is_new=agreed.is_new)
    chosen = replace(config, url=config.urls[choice.place])
    backend = not_before(_open(chosen, purpose), _left_at(config, chosen, purpose))
    return Chosen(chosen, replace(backend, hold=agreed.hold))


def _left_at(config: Config, chosen: Config, purpose: Purpose) -> float:
    """Return the time when the chosen store was last left for another; leave the others now."""
    history = History(_folders_of(config), timeout=_DECIDING)
    if purpose == "change":
        others = (url for url in config.urls if url != chosen.url)
        history.leave(_store(config, url) for url in others)
    moment = history.left_at(_store(config, chosen.url))
    if moment:
        logger.info(
            "sessions in %s that began before %s are not accepted: another store was in use "
            "then, from which they could not be ended",
            hide_credentials(chosen.url),
            f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
        )
    return moment


def _store(config: Config, url: str) -> str:
    """Return the identity of a store: the same for all users and passwords."""
    place = _USER.sub("", url)
    return f"{config.store_prefix}\0{config.application}\0{place}"


def _folders_of(config: Config) -> list[str]:
    if config.choice_folder is not None:
        return [config.choice_folder]
    return [*_state_folder(), default_folder()]


def _state_folder() -> list[str]:
    """Return a folder that survives a restart of the host, if this user has one."""
    home = os.path.expanduser("~")
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    return [os.path.join(state, "wsgi_sessions", "choices")] if os.path.isabs(state) else []


def _looked_up(config: Config) -> Chosen:
    text = standing(config.choice_folder or default_folder(), _name(config))
    if text is not None:
        chosen = replace(config, url=config.urls[_read(text, len(config.urls)).place])
        return Chosen(chosen, not_before(_open(chosen, "look"), _left_at(config, chosen, "look")))
    faults = []
    for candidate in (replace(config, url=url) for url in config.urls):
        try:
            backend = _open(candidate, "look")
            backend.sessions.ping()
        except SessionError as error:
            faults.append(f"{hide_credentials(candidate.url)}: {error}")
        else:
            return Chosen(candidate, not_before(backend, _left_at(config, candidate, "look")))
    raise ConfigurationError(f"no session store answers: {'; '.join(faults)}")


def _open(config: Config, purpose: Purpose = "use") -> Backend:
    backend = open_backend(
        config.url,
        key_prefix=config.store_prefix,
        timeout=config.timeout,
        fsync=config.fsync,
        folder_group=config.folder_group,
        sql_schema=config.sql_schema,
        purpose=purpose,
    )
    return of_application(backend, config.application)


def _refuse_memory(config: Config) -> None:
    if "memory://" in config.urls:
        raise ConfigurationError(
            f"{_URL}: memory:// is a different store in each process, so it cannot be one of "
            "several: use it alone, or leave it out"
        )


def default_folder() -> str:
    """Return where the processes of this user agree, if no setting says so."""
    return os.path.join(tempfile.gettempdir(), f"wsgi_sessions-{os.geteuid()}")


def _name(config: Config) -> str:
    """Return the name of the decision: a hash, since a URL may contain a password."""
    return hashlib.sha256(msgspec.json.encode([config.urls, config.key_prefix])).hexdigest()


def _decide(config: Config) -> Choice:
    faults: list[str] = []
    candidates = [replace(config, url=url) for url in config.urls]
    backends = [_open_or_fault(candidate) for candidate in candidates]
    for place, backend in enumerate(backends):
        fault = backend if isinstance(backend, str) else _fault(backend, config.health.timeout)
        if fault is None:
            return Choice(place, faults)
        faults.append(fault)
    return Choice(0, faults)


def _open_or_fault(config: Config) -> Backend | str:
    try:
        return _open(config)
    except ConfigurationError as error:
        # A DATABASE_URL may serve another purpose, and name something that is not a store.
        if config.sources.get(_URL, _URL) != _URL:
            return str(error)
        raise


def _fault(backend: Backend, timeout: float) -> str | None:
    """Return the reason if the backend is not healthy."""
    report = health.check(backend, timeout=timeout)
    backend.close()
    return None if report.healthy else str(report.details["error"])


def _read(text: str, count: int) -> Choice:
    try:
        choice = msgspec.json.decode(text, type=Choice)
    except msgspec.DecodeError:
        choice = Choice(-1, [])
    if not 0 <= choice.place < count:
        raise ConfigurationError(
            "running processes have chosen one of several session stores in a form that this "
            "release cannot read: stop all of them, then start this one"
        )
    return choice


def _report(choice: Choice, urls: tuple[str, ...], *, is_new: bool) -> None:
    shown = [hide_credentials(url) for url in urls]
    faults = "; ".join(f"{url}: {fault}" for url, fault in zip(shown, choice.faults, strict=False))
    who = "determined now" if is_new else "agreed by running processes"
    if len(choice.faults) == len(urls):
        logger.error(
            "no session store is healthy; the first, %s, is used (%s): %s",
            shown[0],
            who,
            faults,
        )
    elif faults:
        logger.warning(
            "sessions are kept in %s (%s) because others are not healthy: %s",
            shown[choice.place],
            who,
            faults,
        )
    else:
        logger.info("sessions are kept in %s, the first choice (%s)", shown[0], who)
