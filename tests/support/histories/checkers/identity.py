"""Ids: dead after a log-out or a log-in, and alive until then. Nobody sees another's session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histories.checkers.observations import endings, is_acknowledged, observations
from histories.checkers.violation import Violation
from histories.effects import VISITOR, all_numbers
from histories.record import DELETED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from histories.checkers.violation import Kind
    from histories.record import History, Operation


def logged_out_is_dead(history: History) -> Iterator[Violation]:
    """After a log-out was answered, no id that the session ever had opens it."""
    for logout in history.operations:
        if logout.name == "logout" and is_acknowledged(history, logout):
            yield from _opened_after(history, logout, "zombie", "logged out")


def replaced_id_is_dead(history: History) -> Iterator[Violation]:
    """After a log-in was answered with a new id, the old one opens nothing."""
    for login in history.operations:
        if login.name == "login" and login.received and login.received != login.sent:
            yield from _opened_after(history, login, "old id", "replaced")


def _opened_after(history: History, ending: Operation, kind: Kind, how: str) -> Iterator[Violation]:
    for reader in observations(history):
        is_dead = kind == "zombie" or reader.sent == ending.sent
        if reader.begin > ending.end and is_dead:
            message = f"{ending.number} {how} {ending.sent}; {reader.number} opens {reader.sent}"
            yield Violation(kind, reader.session, message, (ending.number, reader.number))


def live_is_found(history: History) -> Iterator[Violation]:
    """A request finds its session, unless a log-out, a log-in or a new id had begun by its end.

    Whether the store works or not: one that cannot be read is a 503.
    """
    reasons = endings(history)
    for reader in history.operations:
        is_lost = reader.is_absent or (reader.received == DELETED and reader.name != "logout")
        if is_lost and reader.sent and not any(ending.begin < reader.end for ending in reasons):
            message = f"{reader.name} {reader.number} found no session, and nobody had ended it"
            yield Violation("fault as absence", reader.session, message, (reader.number,))


def nobody_sees_another_session(history: History) -> Iterator[Violation]:
    """A session holds its own visitor's name, and numbers of its own operations only."""
    own = {operation.number for operation in history.operations} | {0}
    for reader in observations(history):
        values = reader.values or {}
        if values[VISITOR] != reader.session:
            message = f"{reader.number} sees the session of {values[VISITOR]}"
            yield Violation("stranger", reader.session, message, (reader.number,))
            continue
        foreign = sorted(set(all_numbers(values)) - own)
        if foreign:
            message = f"{reader.number} sees {foreign}, which this visitor never wrote"
            yield Violation("mixed", reader.session, message, (reader.number,))
