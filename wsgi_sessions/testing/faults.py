"""Store faults for tests: operations that fail, and answers that are lost."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import StoreUnavailable, VersionConflict, WriteInDoubt
from wsgi_sessions.testing.tap import NAMES, StoreTap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from wsgi_sessions.contract import Backend


class StoreFaults:
    """Faults of the store behind a `Backend`, in this process, for the duration of a block::

        with StoreFaults(backend).fail("save"):
            ...

    Operations are named as in the protocols: ``create``, ``load``, ``save``, ``touch``,
    ``delete``, ``ping``, ``load_and_acquire``, ``add``, ``remove``, ``keys_of`` (of the index) and
    ``hold`` (of the locks). Any other name raises ValueError.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @contextmanager
    def fail(self, *operations: str) -> Iterator[None]:
        """Raise StoreUnavailable from these operations (default: all) without carrying them out."""
        wanted = _known(operations)

        def around(name: str, operation: Any, /, *args: Any, **more: Any) -> Any:
            if name in wanted:
                raise StoreUnavailable("the test made the store fail", operation=name)
            return operation(*args, **more)

        with StoreTap(self._backend, around):
            yield

    @contextmanager
    def lose_answers(self, *operations: str, times: int = 1) -> Iterator[None]:
        """Carry these operations (default: all) out, then raise StoreUnavailable.

        Only the first `times` calls lose their answer. `create` raises WriteInDoubt, as the
        contract says.
        """
        wanted, left = _known(operations), [times]

        def around(name: str, operation: Any, /, *args: Any, **more: Any) -> Any:
            answer = operation(*args, **more)
            if name not in wanted or left[0] == 0:
                return answer
            left[0] -= 1
            error = WriteInDoubt if name == "create" else StoreUnavailable
            raise error("the test lost the store's answer", operation=name)

        with StoreTap(self._backend, around):
            yield

    @contextmanager
    def retry_saves(self) -> Iterator[None]:
        """Carry each `save` out twice, as a store does that lost the first answer and retries.

        The second attempt meets a VersionConflict, which says `is_after_retry`.
        """

        def around(name: str, operation: Any, /, *args: Any, **more: Any) -> Any:
            answer = operation(*args, **more)
            if name != "save":
                return answer
            try:
                return operation(*args, **more)
            except VersionConflict as conflict:
                raise VersionConflict(conflict.current, is_after_retry=True) from None

        with StoreTap(self._backend, around):
            yield

    @contextmanager
    def count(self) -> Iterator[Counter[str]]:
        """Count the calls of each operation."""
        calls: Counter[str] = Counter()

        def around(name: str, operation: Any, /, *args: Any, **more: Any) -> Any:
            calls[name] += 1
            return operation(*args, **more)

        with StoreTap(self._backend, around):
            yield calls


def _known(operations: Collection[str]) -> Collection[str]:
    unknown = sorted(set(operations) - set(NAMES))
    if unknown:
        raise ValueError(
            f"unknown operation {unknown[0]!r} of a store; expected one of {', '.join(NAMES)}"
        )
    return operations or NAMES
