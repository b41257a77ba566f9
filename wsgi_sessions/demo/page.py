"""The page of the demonstration, as HTML."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from wsgi_sessions.demo import race
from wsgi_sessions.demo.losses import LOSSES, SENT
from wsgi_sessions.demo.template import clock, template
from wsgi_sessions.demo.workers import colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions import Session
    from wsgi_sessions.demo.naive import NaiveSession
    from wsgi_sessions.demo.race import RaceResult
    from wsgi_sessions.demo.workers import Workers

_SHARED_WAY = "stores a request's changes, merged with those of others"
_NAIVE_WAY = "stores the whole session again, over the changes of others"
_VALUE_LENGTH = 100


class Setup(NamedTuple):
    """The description of the server on the page."""

    store: str
    worker_class: str
    workers: int

    def __str__(self) -> str:
        processes = "process" if self.workers == 1 else "processes"
        return f"{self.workers} worker {processes}"


class Page(NamedTuple):
    """The contents of one page. `answers` are the workers that answered, newest first."""

    setup: Setup
    workers: Workers
    answers: Sequence[int]
    session: Session
    naive: NaiveSession
    cards: Markup
    notice: str

    def render(self) -> str:
        """Return the whole document."""
        is_done = "race_done" in self.session
        shared = race.result(self.session) if is_done else None
        naive = race.result(self.naive) if is_done else None
        return template("page.html").format(
            setup=self.setup,
            worker_class=self.setup.worker_class,
            store=self.setup.store,
            worker=self.answers[0],
            colour=colour(self.workers.number(self.answers[0])),
            earlier=_earlier(self.answers[1:], self.workers),
            again="Race again" if is_done else "Start the race",
            losses=_losses(),
            example=template("example.txt"),
            account=_account(self.session),
            facts=_facts(self.session),
            values=_values(self.session),
            cards=self.cards,
            count=self.session.get("count", 0),
            notice=_NOTICE.format(self.notice) if self.notice else "",
            steps=race.STEPS,
            milliseconds=round(race.STEP_SECONDS * 1000),
            verdict=_verdict(shared, naive),
            shared=_lane("shared", "wsgi-sessions", _SHARED_WAY, shared),
            naive=_lane("naive", "Naive session", _NAIVE_WAY, naive),
        )


_WORKER = Markup('<li><span class="worker {}">{}</span></li>')
_LOSS = Markup("<li><span>{}</span><strong>{}</strong></li>")
_EARLIER = Markup('<p id="before">and before it from</p><ol aria-labelledby="before">{}</ol>')
_NOTICE = Markup('<p class="notice" role="status">{}</p>')
_FACT = Markup("<div><dt>{}</dt><dd>{}</dd></div>")
_VALUE = Markup('<tr><th scope="row">{}</th><td><code>{}</code></td></tr>')
_SCORE = Markup("<strong>{}</strong> of {} kept, {} lost")
_DOT = Markup('<span class="dot {}" data-step="{}">{}</span>')

_SIGNS = {"kept": "✓", "lost": "✗", "waiting": ""}


def _earlier(pids: Sequence[int], workers: Workers) -> Markup:
    if not pids:
        return Markup("")
    items = (_WORKER.format(colour(workers.number(pid)), pid) for pid in pids)
    return _EARLIER.format(Markup("").join(items))


# -- the session -----------------------------------------------------------------------------------


def _account(session: Session) -> Markup:
    if session.principal is None:
        return template("log_in.html")
    return template("log_out.html").format(session.principal)


def _facts(session: Session) -> Markup:
    who = "nobody" if session.principal is None else session.principal
    facts = [_FACT.format("User", who)]
    if session.created_at is None or session.expires_at is None:
        facts.append(_FACT.format("Stored", "not yet: it is still empty"))
    else:
        minutes = round((session.expires_at - time.time()) / 60)
        facts.append(_FACT.format("Began", clock(session.created_at)))
        expiry = f"{clock(session.expires_at)}, in {minutes} minutes, if left unused"
        facts.append(_FACT.format("Expires", expiry))
    return Markup("").join(facts)


def _values(session: Session) -> Markup:
    rows = [_VALUE.format(key, _shown(value)) for key, value in session.items()]
    return Markup("").join(rows) or template("empty.html")


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, datetime) else repr(value)
    return text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]} …"


# -- the race --------------------------------------------------------------------------------------


def _verdict(shared: RaceResult | None, naive: RaceResult | None) -> str:
    if shared is None or naive is None:
        return ""
    kept, naive_kept = len(shared.kept), len(naive.kept)
    text = f"wsgi-sessions kept the work of {kept} of {race.STEPS} requests, "
    text += f"the naive session that of {naive_kept}."
    if naive_kept == race.STEPS:
        text += " It lost nothing this time: did no two requests overlap?"
    return text


def _lane(name: str, title: str, how: str, result: RaceResult | None) -> Markup:
    outcome = _not_run() if result is None else _outcome(result)
    return template("lane.html").format(name=name, title=title, how=how, **outcome)


def _not_run() -> dict[str, str]:
    text = "not run yet"
    return {"score": text, "label": text, "detail": "", "dots": _dots("waiting", {})}


def _outcome(result: RaceResult) -> dict[str, str]:
    kept, lost = len(result.kept), race.STEPS - len(result.kept)
    return {
        "score": _SCORE.format(kept, race.STEPS, lost),
        "label": f"{kept} kept, {lost} lost",
        "detail": f"keys {result.keys}, list items {result.items}, counter {result.counter}",
        "dots": _dots("lost", result.kept),
    }


def _dots(otherwise: str, kept: dict[int, int]) -> Markup:
    return Markup("").join(_dot(n, kept.get(n), otherwise) for n in range(1, race.STEPS + 1))


def _dot(step: int, worker: int | None, otherwise: str) -> Markup:
    if worker is None:
        return _DOT.format(otherwise, step, _SIGNS[otherwise])
    return _DOT.format(f"kept {colour(worker)}", step, _SIGNS["kept"])


def _losses() -> Markup:
    rows = (_LOSS.format(loss.library, loss) for loss in LOSSES)
    ours = _LOSS.format("wsgi-sessions", 0)
    return template("losses.html").format(sent=SENT, rows=Markup("").join([ours, *rows]))
