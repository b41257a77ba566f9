"""What it costs to merge two values of a megabyte, as a ratio to encoding both, at several depths.

Both requests changed something at each level, so that every level has to be merged.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from benchmarks.harness.rounds import progress, spread
from benchmarks.harness.targets import Verdict, as_lines, at_most
from wsgi_sessions.core.merge.three_way import Merging
from wsgi_sessions.core.record.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 10.0
DEPTHS = (1, 30, 60)
SHAPES: dict[str, Callable[[int], Any]] = {
    "numbers in a list": lambda n: [1] * 1_000_000 + [n],
    "texts in a list": lambda n: ["text"] * 200_000 + [n],
    "a dictionary, a part changed": lambda n: {
        f"{i:x}": n * (i % 1000 == 0) for i in range(150_000)
    },
    "a dictionary, all changed": lambda n: dict.fromkeys(map(str, range(150_000)), n),
    "dictionaries": lambda n: {f"{i:x}": {"a": n * (i % 100 == 0)} for i in range(80_000)},
    "keys that are numbers": lambda n: {i: n * (i % 1000 == 0) for i in range(120_000)},
    "a set": lambda n: {*range(200_000), -n},
}


def nested(depth: int, value: Any, mark: int) -> Any:
    """The value below so many dictionaries."""
    for _ in range(depth):
        value = {"below": value, "mark": mark}
    return value


def ratio(shape: Callable[[int], Any], depth: int) -> float:
    """The time of a merge over that of encoding both sides."""
    base, mine, theirs = (nested(depth, shape(n), n) for n in (1, 2, 3))
    before = Raw(encode(base))
    began = time.perf_counter()
    two = [Raw(encode(value)) for value in (mine, theirs)]
    encoded = time.perf_counter()
    Merging().merged("key", before, *two, after_read=True)
    return (time.perf_counter() - encoded) / (encoded - began)


def measured(rounds: int) -> list[Verdict]:
    """The claims, all shapes in turn in each round."""
    found: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds):
        for name, shape in SHAPES.items():
            progress(f"merge: round {turn + 1} of {rounds}, {name}")
            for depth in DEPTHS:
                found.setdefault((name, depth), []).append(ratio(shape, depth))
    progress("")
    return [
        at_most(f"{name}, {depth} deep", spread(ratios), LIMIT, "x encoding both")
        for (name, depth), ratios in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    print("\n".join(as_lines(measured(parser.parse_args().rounds))))


if __name__ == "__main__":
    main()
