"""Exclusive blocks: one at a time, each on what the one before it left."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

from histories.checkers.observations import is_acknowledged
from histories.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from histories.record import History, Operation


def blocks_do_not_overlap(history: History) -> Iterator[Violation]:
    """No two blocks of one session are inside at the same time, whatever ids it has.

    But for one of which nothing is stored, and that is reported: its lock's time may have been up.
    """
    inside = [o for o in history.operations if o.inside is not None]
    blocks = [o for o in inside if o.number not in history.dropped]
    for one, other in combinations(blocks, 2):
        if _overlap(one.inside or (0, 0), other.inside or (0, 0)):
            message = f"blocks {one.number} and {other.number} were inside at the same time"
            yield Violation("overlap", one.session, message, (one.number, other.number))


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def blocks_read_afresh(history: History) -> Iterator[Violation]:
    """No two blocks that were committed read the same total: the second missed the first."""
    readers: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.total is not None and is_acknowledged(history, operation):
            readers[operation.total].append(operation)
    for total, blocks in readers.items():
        if len(blocks) > 1:
            numbers = tuple(block.number for block in blocks)
            message = f"blocks {numbers} all read the total {total}"
            yield Violation("lost", blocks[0].session, message, numbers)
