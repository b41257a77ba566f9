"""ContextMiddleware: a user's last context comes back after the session was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contexts.policy import ApplicationContexts, ContextPolicy, StoredContexts
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.history import RESTORED
from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.environ import get_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.contexts.audit import Audit
    from wsgi_sessions.contexts.permissions import MayAccess, Principal, Verdict
    from wsgi_sessions.contexts.policy import Explanation
    from wsgi_sessions.contexts.settings import Remembering
    from wsgi_sessions.contract import ContextStore
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.events import Events

ENVIRON_KEY = "wsgi_sessions.contexts"


def select_context(environ: WSGIEnvironment, value: object, key: str | None = None) -> Verdict:
    """Select the context that the user works on.

    If allowed, the session's key holds the value at once, and the commit of the session remembers
    it as the principal's last context, unless the response is an error. Otherwise nothing changes.
    A visitor who is not logged in is never allowed.

    Args:
        key: the session's key; may be left out if there is only one.

    Returns:
        ``"allowed"``, or why not: ``"denied"``, ``"gone"``.

    Raises:
        UnserializableValue: a session cannot hold the value.
        ValueError: the value is None.
        LookupError: outside of a ContextMiddleware, and after the end of the request.

    An exception of the permission hook is raised, with nothing changed.
    """
    return _use(environ, key).select(value)


def forget_context(environ: WSGIEnvironment, key: str | None = None) -> None:
    """Leave the context: it goes from the session, and is no longer remembered.

    Deleting only the session's key gives a session without a context: the next request gets it
    back. To go on without it but remember it for the next log-in, set the key to None.
    """
    _use(environ, key).forget()


def explain_context(environ: WSGIEnvironment, key: str | None = None) -> Explanation:
    """Return what is remembered for this request's principal, and if and why it would be put back.

    Loads and asks the permission hook; changes nothing.
    """
    return _use(environ, key).explain()


class ContextMiddleware:
    """Puts the last context back into the session of a logged-in user that has none::

        application = ContextMiddleware(
            application, backend.contexts, key="current_deal_id", may_access=may_access
        )

    It stands inside of a SessionMiddleware; for several keys, wrap several times. A context is put
    back at the first access of the session, before the application sees it. A session that has its
    key (even with None in it), that has no principal, or that the request does not touch, costs no
    call. A principal without a remembered context costs one look-up in each request that uses the
    session.

    Permission is asked at each restore. If it is denied, or the context is gone, the reference is
    forgotten and "lost access" is logged. Any fault in restoring or remembering is logged, and the
    request goes on without.

    Not promised: that a context in the session goes when permission does. The application has to
    check that where it uses the context, as for any id in a session.

    Args:
        contexts: a store's ability (``backend.contexts``), or `ApplicationContexts`.
        may_access, restoring, remembering: see `ContextPolicy`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        contexts: ContextStore | ApplicationContexts,
        key: str,
        may_access: MayAccess,
        *,
        restoring: bool = True,
        remembering: Remembering = "set",
        events: Events | None = None,
        audit: Audit | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.app = app
        self.policy = ContextPolicy(
            key,
            contexts
            if isinstance(contexts, ApplicationContexts)
            else StoredContexts(contexts, clock),
            may_access,
            restoring=restoring,
            remembering=remembering,
            events=events,
            audit=audit,
            clock=clock,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        use = ContextBinding(self.policy, environ)
        # Weak, since it refers back here. The transaction keeps it until its end.
        environ.setdefault(ENVIRON_KEY, {})[self.policy.key] = ref(use)
        return self.app(environ, start_response)


class ContextBinding:
    """One key's context in one request, from the session's first access to its commits."""

    __slots__ = (
        "__weakref__",
        "_before",
        "_changed",
        "_environ",
        "_forgotten",
        "_policy",
        "_restored",
        "_selected",
        "_selecting",
        "_transaction",
    )

    def __init__(self, policy: ContextPolicy, environ: WSGIEnvironment) -> None:
        self._policy = policy
        self._environ = environ
        self._transaction = get_transaction(environ)
        self._before: Snapshot | None = None  # as it was loaded, or last committed
        self._restored: bytes | None = None
        self._selected: tuple[Principal, bytes] | None = None
        self._changed = self._forgotten = self._selecting = False
        self._transaction.when_loaded(self._loaded)
        self._transaction.when_committing(self._committing)
        self._transaction.when_committed(self._committed)

    # -- what the application asks for ---------------------------------------------------------

    def select(self, value: object) -> Verdict:
        """See `select_context`."""
        if value is None:
            raise ValueError("None is not a context: call forget_context to leave one")
        session, was_read = self._transaction.session, self._transaction.session.accessed
        self._selecting = True  # at a first access, nothing is put back only to be replaced
        principal = session.principal
        self._selecting = False
        verdict = self._policy.select(principal, value, self._environ)
        if verdict == "allowed" and principal is not None:
            session[self._policy.key] = value
            self._selected, self._forgotten = (principal, encode(value)), False
        elif not was_read:
            self._restore()
        return verdict

    def forget(self) -> None:
        """See `forget_context`."""
        self._selecting = True
        self._transaction.session.pop(self._policy.key, None)
        self._selecting = False
        self._selected, self._forgotten = None, True

    def explain(self) -> Explanation:
        """See `explain_context`."""
        return self._policy.explain(self._transaction.session.principal, self._environ)

    # -- the moments of the transaction --------------------------------------------------------

    def _loaded(self) -> None:
        self._before = self._transaction.snapshot
        if not self._selecting:
            self._restore()

    def _restore(self) -> None:
        draft = self._transaction.peek()
        # `has` and `default`, since a look at the key through the session would count as a read: a
        # later blind write of the application would then be a conflict.
        if draft.snapshot is None or draft.data.has(self._policy.key):
            return
        principal = draft.get_metadata(PRINCIPAL)
        if principal is not None and self._transaction.phase is not Phase.ENDED:
            self._policy.restore(principal, self._environ, self._put)

    def _put(self, value: object) -> None:
        # A default: it does not overwrite a context that another request selects now.
        draft = self._transaction.peek()
        draft.data.default(self._policy.key, value)
        draft.set_metadata(RESTORED, [self._transaction.manager.now(), self._policy.key])
        self._restored = encode(value)

    def _committing(self) -> None:
        data, key = self._transaction.peek().data, self._policy.key
        if data.is_changed(key) and encode(data.peek(key)) != self._restored:
            self._changed = True

    def _committed(self) -> None:
        snapshot, before = self._transaction.snapshot, self._before
        if snapshot is None or (snapshot is before and not (self._selected or self._forgotten)):
            return
        changed = self._changed or _mark(snapshot) != _mark(before)
        selected, forgotten = self._selected, self._forgotten
        self._before, self._selected = snapshot, None
        self._changed = self._forgotten = False
        principal = self._transaction.peek().get_metadata(PRINCIPAL)
        if principal is not None and (changed or selected or forgotten):
            self._remember(principal, snapshot, selected, forgotten=forgotten)

    def _remember(
        self,
        principal: Principal,
        snapshot: Snapshot,
        selected: tuple[Principal, bytes] | None,
        *,
        forgotten: bool,
    ) -> None:
        data = snapshot.envelope.data.get(self._policy.key)
        value = None if data is None else decode(data)
        if value is None:
            if forgotten:
                self._policy.forget(principal, self._environ)
        elif data is not None and selected == (principal, bytes(data)):
            self._policy.keep(principal, value, self._environ)
        elif self._policy.remembering == "set":
            self._policy.remember(principal, value, self._environ)


def _mark(snapshot: Snapshot | None) -> bytes | None:
    """Return the stored principal of the session."""
    encoded = None if snapshot is None else snapshot.envelope.metadata.get(PRINCIPAL)
    return None if encoded is None else bytes(encoded)


def _use(environ: WSGIEnvironment, key: str | None) -> ContextBinding:
    uses: dict[str, ref[ContextBinding]] = environ.get(ENVIRON_KEY, {})
    if not uses:
        raise LookupError(
            "this request has no contexts: set `context.key`, or wrap the application "
            "in a ContextMiddleware"
        )
    if key is None and len(uses) == 1:
        key = next(iter(uses))
    if key not in uses:
        raise LookupError(f"name one of the context keys: {', '.join(uses)}")
    use = uses[key]()
    if use is None:
        raise LookupError("the request has ended: its contexts can no longer be used")
    return use
