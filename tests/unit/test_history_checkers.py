"""The checkers of histories: each accepts what is right and finds what is planted."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from histories.checkers import judge
from histories.effects import COUNTED, MARKS, REGISTERS, TOTALLED, beginning, role_of
from histories.record import DELETED, History, Operation, Report, read, write
from histories.shrink import shrink
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from histories.checkers.violation import Violation

VISITOR = "v1"
CHANGES = sorted((MARKS.keys() | REGISTERS.keys() | {"count"}) - {"across"})


def change(values: dict[str, Any], name: str, number: int) -> None:
    """What an operation does to a session, one after the other."""
    for place in MARKS.get(name, ()):
        if place == "key":
            values[f"key {number}"] = number
        elif place == "nest":
            values["nest"][str(number)] = number
        else:
            values[place].append(number)
    for key in REGISTERS.get(name, ()):
        values[key] = {"id": number, "role": role_of(number)} if key == "org" else number
    if name == "rank":
        values["rank role"] = role_of(number)
    values["count"] += name in COUNTED
    values["total"] += name in TOTALLED


class Recorder:
    """Makes a history of one session, whose values are those of one place in memory."""

    def __init__(self) -> None:
        self.values = beginning(VISITOR)
        self.operations: list[Operation] = []
        self.reports: list[Report] = []
        self._clock = 0.0

    def run(self, name: str, **facts: Any) -> Operation:
        """An operation after all others, with its effect."""
        operation = self.read(name, **facts)
        change(self.values, name, operation.number)
        return operation

    def read(self, name: str = "read", **facts: Any) -> Operation:
        """An operation after all others that has no effect, whatever its name says."""
        self._clock += 1
        standard: dict[str, Any] = {
            "begin": self._clock,
            "end": self._clock + 0.5,
            "values": copy.deepcopy(self.values),
            "sent": "id",
        }
        number = len(self.operations) + 1
        operation = Operation(number, "client", VISITOR, name, **{**standard, **facts})
        self.operations.append(operation)
        return operation

    def violations(self) -> list[Violation]:
        return judge(self.history())

    def history(self) -> History:
        return History(tuple(self.operations), tuple(self.reports))

    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.violations()}


# -- what is right ---------------------------------------------------------------------------------


@st.composite
def right_histories(draw: st.DrawFn) -> History:
    """Overlapping requests on one place in memory: each reads, and later changes, in one moment.

    Those that fail change nothing; of those that are unknown, some do.
    """
    names = draw(st.lists(st.sampled_from([*CHANGES, "read"]), min_size=1, max_size=12))
    steps: list[tuple[float, int, str]] = []
    spans: dict[int, tuple[float, float]] = {}
    for number, _ in enumerate(names, 1):
        moments = sorted(draw(st.lists(st.floats(0, 9), min_size=4, max_size=4, unique=True)))
        spans[number] = (moments[0], moments[3])
        steps += [(moments[1], number, "load"), (moments[2], number, "commit")]
    outcomes = {n: draw(st.sampled_from(["ok", "ok", "unknown, done", "unknown"])) for n in spans}
    values, last = beginning(VISITOR), dict[str, int]()
    seen: dict[int, tuple[dict[str, Any], dict[str, int]]] = {}
    reports: list[Report] = []
    for _, number, step in sorted(steps):
        name = names[number - 1]
        if step == "load":
            seen[number] = (copy.deepcopy(values), dict(last))
        elif name not in ("fail", "raise") and outcomes[number] != "unknown":
            change(values, name, number)
            for key in REGISTERS.get(name, ()):
                if last.get(key) != seen[number][1].get(key):
                    reports.append(Report("conflict", number, key))
                last[key] = number
    operations = [
        _answered(number, name, spans[number], seen[number][0], outcomes[number])
        for number, name in enumerate(names, 1)
    ]
    return History(tuple(operations), tuple(reports))


def _answered(
    number: int, name: str, span: tuple[float, float], values: dict[str, Any], outcome: str
) -> Operation:
    operation = Operation(number, f"client {number}", VISITOR, name, *span, sent="id")
    if outcome != "ok":
        return replace(operation, outcome="unknown")
    return replace(
        operation, outcome="failed" if name in ("fail", "raise") else "ok", values=values
    )


@given(right_histories())
def test_what_is_right_is_accepted(history: History) -> None:
    assert judge(history) == []


@given(right_histories())
def test_a_history_is_the_same_after_it_was_kept(
    tmp_path_factory: pytest.TempPathFactory, history: History
) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    history = replace(history, excused=((1.0, 2.5),), stale=((3.0, 3.5),))
    write(history, path)
    assert read(path) == history


def test_identity_that_is_right() -> None:
    right = Recorder()
    right.run("start", sent=None, received="one", values=None)
    right.read(sent="one")
    right.run("login", sent="one", received="two")
    right.read(sent="one", values={})
    right.run("cycle", sent="two", received="three")
    right.run("logout", sent="three", received=DELETED)
    right.read(sent="three", values={})
    right.read(sent="two", values={})
    assert right.violations() == []


def test_an_operation_with_unknown_outcome_may_take_effect_late() -> None:
    late = Recorder()
    unknown = late.read("append", outcome="unknown", values=None)
    late.read()
    change(late.values, "append", unknown.number)
    late.read()
    assert late.violations() == []


def test_less_is_promised_in_an_excused_span() -> None:
    lost = Recorder()
    append = lost.read("append")
    lost.read("logout", received=DELETED)
    last = lost.read()
    assert lost.kinds() == {"lost", "zombie"}
    span = (append.begin, last.begin - 0.1)
    assert judge(replace(lost.history(), excused=(span,))) == []
    assert judge(replace(lost.history(), excused=((span[0] - 3, append.begin),))) != []


def test_a_session_that_began_in_an_excused_span_may_be_gone() -> None:
    gone = Recorder()
    start = gone.run("start", sent=None, received="one", values=None)
    gone.read(sent="one", values={})
    assert gone.kinds() == {"fault as absence"}
    assert judge(replace(gone.history(), excused=((start.begin, start.end),))) == []


def test_reads_in_a_stale_span_may_be_old_and_acknowledged_writes_hold() -> None:
    stale = Recorder()
    before = copy.deepcopy(stale.values)
    stale.run("append")
    old, absent = stale.read(values=before), stale.read("append", values={})
    stale.read()
    assert stale.kinds() == {"stale", "fault as absence"}
    span = (old.begin, absent.end)
    assert judge(replace(stale.history(), stale=(span,))) == []
    lost = stale.read("append")
    stale.read()
    assert {
        (violation.kind, violation.operations[0])
        for violation in judge(replace(stale.history(), stale=((old.begin, lost.end),)))
    } == {("lost", lost.number)}


def test_values_dropped_for_a_login_may_be_missing() -> None:
    dropped = Recorder()
    login = dropped.run("login", sent="id", received="two")
    append = dropped.read("append", sent="id", begin=login.begin)
    dropped.reports.append(Report("superseded", append.number))
    dropped.read(sent="two")
    assert dropped.violations() == []


# -- what is planted -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MARKS.keys() - {"fail", "raise"}))
def test_a_lost_change(name: str) -> None:
    lost = Recorder()
    lost.read(name)
    lost.read()
    assert "lost" in lost.kinds()


@pytest.mark.parametrize("name", sorted(MARKS.keys() - {"fail", "raise"}))
def test_a_stale_read(name: str) -> None:
    stale = Recorder()
    late = stale.read(name)
    stale.read()
    change(stale.values, name, late.number)
    stale.read()
    assert "stale" in stale.kinds()


def test_a_change_that_was_seen_and_is_gone() -> None:
    undone = Recorder()
    before = copy.deepcopy(undone.values)
    undone.run("append", outcome="unknown", values=None)
    undone.read()
    undone.values = before
    undone.read()
    assert undone.kinds() == {"lost"}


def test_a_change_that_was_dropped_beside_a_new_id() -> None:
    dropped = Recorder()
    dropped.run("cycle", received="two")
    append = dropped.read("append")
    dropped.reports.append(Report("gone", append.number))
    assert dropped.kinds() == {"lost"}


def test_a_doubled_entry() -> None:
    doubled = Recorder()
    append = doubled.run("append")
    change(doubled.values, "append", append.number)
    doubled.read()
    assert doubled.kinds() == {"doubled"}


@pytest.mark.parametrize(("key", "name"), [("count", "count"), ("total", "exclusive")])
def test_a_counter_that_lost_or_doubled_an_addition(key: str, name: str) -> None:
    for error, kind in ((-1, "lost"), (1, "doubled")):
        wrong = Recorder()
        wrong.run(name)
        wrong.values[key] += error
        wrong.read()
        assert wrong.kinds() == {kind}


def test_a_change_that_is_there_in_part() -> None:
    torn = Recorder()
    operation = torn.run("change", outcome="unknown", values=None)
    torn.values["log"].remove(operation.number)
    torn.read()
    assert "torn" in torn.kinds()


@pytest.mark.parametrize("name", ["fail", "raise", "append", "assign"])
def test_a_change_of_a_request_that_failed(name: str) -> None:
    torn = Recorder()
    torn.run(name, outcome="failed")
    torn.read()
    assert "torn" in torn.kinds()


def test_a_pair_that_is_torn() -> None:
    torn = Recorder()
    torn.run("pair")
    torn.values["left"] = 0
    torn.read()
    assert "torn" in torn.kinds()


@pytest.mark.parametrize("name", ["org", "rank"])
def test_values_that_were_never_written(name: str) -> None:
    mixed = Recorder()
    mixed.run(name)
    if name == "org":
        mixed.values["org"]["role"] = role_of(0)
    else:
        mixed.values["rank role"] = role_of(0)
    mixed.read()
    assert "mixed" in mixed.kinds()


def test_a_number_from_nowhere() -> None:
    for place in ("reg", "log"):
        mixed = Recorder()
        mixed.values[place] = 77 if place == "reg" else [77]
        mixed.read()
        assert "mixed" in mixed.kinds()


def test_a_register_that_went_back() -> None:
    back = Recorder()
    first = back.run("assign")
    back.run("assign")
    back.read()
    back.values["reg"] = first.number
    back.read()
    assert back.kinds() == {"not linearizable"}


def test_a_register_that_was_two_values_at_once() -> None:
    split = Recorder()
    one = split.run("assign", end=9.0, values=None)
    other = split.run("assign", end=9.0, values=None)
    for value in (one.number, other.number, one.number):
        split.values["reg"] = value
        split.read()
    assert split.kinds() == {"not linearizable"}


def test_blocks_that_overlap() -> None:
    both = Recorder()
    both.run("exclusive", inside=(1.0, 1.4))
    both.run("exclusive", inside=(1.3, 1.5), sent="another id")
    assert both.kinds() == {"overlap"}


def test_a_block_that_goes_on_after_its_locks_time_and_is_stored() -> None:
    both = Recorder()
    stopped = both.read("exclusive", inside=(1.0, 3.4), total=0, end=3.5)
    both.run("exclusive", inside=(2.1, 2.4), total=0)
    change(both.values, "exclusive", stopped.number)
    both.values["total"] = 1  # by the one that had stood still
    both.read(begin=4.0)
    assert {"overlap", "lost"} <= both.kinds()


def test_a_block_that_was_dropped_may_have_outlived_its_lock() -> None:
    both = Recorder()
    stopped = both.read("exclusive", inside=(1.0, 3.4), total=0, end=3.5)
    both.run("login", received="two")
    both.run("exclusive", inside=(3.1, 3.2), total=0, sent="two")
    assert both.kinds() == {"overlap", "lost"}
    both.reports.append(Report("superseded", stopped.number))
    both.read(sent="two")
    assert both.violations() == []


def test_blocks_that_read_the_same_total() -> None:
    both = Recorder()
    both.run("exclusive", inside=(1.0, 1.2), total=0)
    both.run("exclusive", inside=(1.3, 1.5), total=0)
    assert both.kinds() == {"lost"}


def test_a_session_that_is_open_after_its_end() -> None:
    dead = Recorder()
    dead.run("logout", received=DELETED)
    dead.read()
    assert dead.kinds() == {"zombie"}


def test_a_session_that_was_logged_out_and_lives_under_another_id() -> None:
    dead = Recorder()
    cycle = dead.run("cycle", received="two")
    dead.run("logout", received=DELETED, begin=cycle.begin)
    dead.read(sent="two")
    assert dead.kinds() == {"zombie"}


def test_an_id_that_a_login_replaced_and_that_opens() -> None:
    old = Recorder()
    old.run("login", received="two")
    old.read(sent="id")
    assert old.kinds() == {"old id"}


@pytest.mark.parametrize("facts", [{"values": {}}, {"received": DELETED}])
def test_a_fault_that_was_taken_for_absence(facts: dict[str, Any]) -> None:
    fault = Recorder()
    fault.read()
    fault.read(**facts)
    assert fault.kinds() == {"fault as absence"}


def test_the_session_of_another_user() -> None:
    foreign = Recorder()
    foreign.read(values=beginning("v2"))
    assert foreign.kinds() == {"stranger"}


@pytest.mark.parametrize("name", sorted(REGISTERS))
def test_an_assignment_that_was_overwritten_and_not_reported(name: str) -> None:
    silent = Recorder()
    first = silent.run(name)
    silent.run(name, begin=first.begin, end=first.end, values=first.values)
    assert silent.kinds() == {"unreported"}

    for key in REGISTERS[name]:
        silent.reports.append(Report("conflict", 2, key))
    assert silent.violations() == []


# -- what is kept ----------------------------------------------------------------------------------


def planted() -> History:
    """A lost append among much that is right."""
    recorder = Recorder()
    for name in ("change", "note", "assign", "count"):
        recorder.run(name)
    recorder.read("append")
    for name in ("org", "exclusive", "nest"):
        recorder.run(name)
    return recorder.history()


def test_a_failing_history_is_made_small() -> None:
    history = planted()
    (violation,) = judge(history)
    small = shrink(history, violation)
    assert {operation.name for operation in small.operations} >= {"append"}
    assert violation in judge(small)
    assert set(violation.operations) <= {operation.number for operation in small.operations}
    assert len(small.operations) < len(history.operations)


def test_other_sessions_are_left_out_of_it() -> None:
    history = planted()
    start = replace(history.operations[0], number=50, session="v2", values=beginning("v2"))
    both = History((*history.operations, start))
    (violation,) = judge(both)
    assert {o.session for o in shrink(both, violation).operations} == {VISITOR}


def test_a_report_says_which_operation_it_is_about() -> None:
    event = {"name": "conflict", "key": "ab", "path": "org.id", "route": "GET /org/17"}
    assert Report.of(event) == Report("conflict", 17, "org.id", "ab")
    assert Report.of({"name": "created"}).number is None
    history = History((), (Report.of(event),))
    assert history.conflicts(17, "org") == 1
    assert history.conflicts(17, "or") == 0


def sequence_of(names: Sequence[str], plant: Callable[[Recorder], None]) -> Recorder:
    recorder = Recorder()
    for name in names:
        recorder.run(name)
    plant(recorder)
    return recorder


@given(st.lists(st.sampled_from(CHANGES), max_size=8), st.sampled_from(["append", "note", "nest"]))
def test_a_lost_change_is_found_among_others(names: list[str], lost: str) -> None:
    names = [name for name in names if name not in ("fail", "raise")]

    def plant(recorder: Recorder) -> None:
        recorder.read(lost)
        recorder.run("count")

    assert "lost" in sequence_of(names, plant).kinds()
