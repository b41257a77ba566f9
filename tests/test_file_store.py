"""What is special to files: damage, foreign files, folders, leftovers, permissions."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.errors import (
    ConfigurationError,
    LockTimeout,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
)
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.base import Record
from wsgi_sessions.stores.file import FileStore, open_files
from wsgi_sessions.stores.file_slots import pack_file, pack_slot, parse, place
from wsgi_sessions.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = store_key(new_id())
FUTURE = time.time() + 10_000
OLD, NEW = Record(1, b"old payload", FUTURE), Record(2, b"new payload!", FUTURE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def store(folder: Path) -> FileStore:
    return FileStore(str(folder), timeout=0.2)


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / "sessions" / key[:2] / key


def with_two_versions(store: FileStore) -> Path:
    store.create(KEY, OLD.payload, OLD.expires_at)
    store.save(KEY, NEW.payload, NEW.expires_at, expected_version=1)
    return _path(store)


def _path(store: FileStore) -> Path:
    return path_of(Path(store.folder))


# -- damage ------------------------------------------------------------------------------------


def test_a_file_cut_at_any_place_is_the_record_an_older_one_or_none(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = path.read_bytes()
    seen = set()
    for length in [*range(300), *range(300, len(whole), 61), len(whole)]:
        path.write_bytes(whole[:length])
        record = store.load(KEY)
        assert record in (None, OLD, NEW)
        seen.add(record)
    assert seen == {None, NEW} or seen == {None, OLD, NEW}
    path.write_bytes(whole)
    assert store.load(KEY) == NEW


def test_each_flipped_bit_gives_the_record_an_older_one_or_none(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = path.read_bytes()
    used = [*range(120), *range(len(whole) // 2, len(whole) // 2 + 120)]
    for position in used:
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert store.load(KEY) in (None, OLD, NEW)
            except UnsupportedFormat:
                assert path.read_bytes() == damaged


def test_a_torn_write_leaves_the_record_before_it(store: FileStore) -> None:
    """Every prefix of the bytes that a commit writes, as a crash would leave them."""
    path = with_two_versions(store)
    whole = path.read_bytes()
    slots = parse(whole, KEY)
    start, capacity = place(len(whole), 1 - slots.newest)
    torn = pack_slot(Record(3, b"never acknowledged", FUTURE), KEY, capacity)
    for length in range(1, len(torn)):
        path.write_bytes(whole[:start] + torn[:length] + whole[start + length :])
        assert store.load(KEY) == NEW
        assert store.save(KEY, b"next", FUTURE, expected_version=2) == 3


def test_a_torn_slot_is_repaired_once(store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
    path = with_two_versions(store)
    whole = bytearray(path.read_bytes())
    slots = parse(bytes(whole), KEY)
    whole[place(len(whole), 1 - slots.newest).offset + 20] ^= 1
    path.write_bytes(whole)
    assert store.load(KEY) == NEW
    assert parse(path.read_bytes(), KEY).torn == ()


def test_a_damaged_file_is_set_aside_never_served(
    store: FileStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_two_versions(store)
    path.write_bytes(b"garbage" * 600)
    assert store.load(KEY) is None
    assert not path.exists()
    assert store.quarantined() == 1
    assert "set aside" in caplog.text
    assert KEY not in caplog.text
    with pytest.raises(SessionGone):
        store.save(KEY, b"late", FUTURE, expected_version=2)


def test_a_save_to_a_damaged_file_is_refused(store: FileStore) -> None:
    path = with_two_versions(store)
    path.write_bytes(b"\xff" * 4096)
    with pytest.raises(SessionGone):
        store.save(KEY, b"x", FUTURE, expected_version=2)


def test_a_record_under_another_key_is_refused(store: FileStore, folder: Path) -> None:
    other = store_key(new_id())
    path = with_two_versions(store)
    target = path_of(folder, other)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(path.read_bytes())
    assert store.load(other) is None
    assert store.quarantined() == 1
    assert store.load(KEY) == NEW


def test_a_newer_format_is_left_alone(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = bytearray(path.read_bytes())
    slots = parse(bytes(whole), KEY)
    whole[place(len(whole), slots.newest).offset + 3] = 2
    path.write_bytes(whole)
    for _ in range(2):
        with pytest.raises(UnsupportedFormat):
            store.load(KEY)
        with pytest.raises(UnsupportedFormat):
            store.save(KEY, b"x", FUTURE, expected_version=2)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("expiry", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_an_expiry_that_is_no_time_is_no_record(store: FileStore, expiry: float) -> None:
    path = _path(store)
    path.parent.mkdir()
    path.write_bytes(pack_file(Record(1, b"x", expiry), KEY))
    assert store.load(KEY) is None


def test_an_expiry_far_away_is_an_expiry(store: FileStore) -> None:
    store.create(KEY, b"x", 2.0**63)
    assert store.load(KEY) == Record(1, b"x", 2.0**63)


@pytest.mark.parametrize("field", range(4))
def test_lengths_that_lie_are_damage(store: FileStore, field: int) -> None:
    path = _path(store)
    path.parent.mkdir()
    data = bytearray(pack_file(Record(1, b"x" * 50, FUTURE), KEY))
    struct.pack_into(">I", data, 32 + 4 + 4 * (field % 2), (0xFFFFFFFF, 4000, 0, 2**31)[field])
    path.write_bytes(data)
    assert store.load(KEY) is None


# -- what is no file of ours -------------------------------------------------------------------


def save_is_refused(store: FileStore) -> None:
    with pytest.raises(SessionGone):
        store.save(KEY, b"x", FUTURE, expected_version=1)


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            sock.bind(path.name)
        finally:
            os.chdir(here)


def make_strangers_file(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path.write_bytes(pack_file(NEW, KEY))
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "make",
    [make_link, make_dangling_link, os.mkfifo, make_folder, make_socket, make_strangers_file],
)
def test_what_is_no_file_of_ours_is_set_aside(store: FileStore, make: Any) -> None:
    path = _path(store)
    acts: list[Callable[[], object]] = [
        lambda: store.load(KEY),
        lambda: store.touch(KEY, FUTURE),
        lambda: save_is_refused(store),
        lambda: store.delete(KEY),
    ]
    for act in acts:
        path.parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            make(path)
        act()
        assert store.load(KEY) is None
        assert not os.path.lexists(path)


# -- the folder --------------------------------------------------------------------------------


def test_modes_are_private(store: FileStore, folder: Path) -> None:
    with_two_versions(store)
    store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    backend = open_files(str(folder))
    backend.index.add("alice", KEY, FUTURE)
    assert backend.secret is not None
    backend.secret.secret()
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_private_folder_under_a_generous_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileStore(str(tmp_path / "deep" / "sessions"))
        store.create(KEY, b"x", FUTURE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "sessions").stat().st_mode) == 0o700
    assert stat.S_IMODE(_path(store).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name in ("file", "file/below", "link", "open"):
        with pytest.raises(ConfigurationError, match=str(tmp_path / name)):
            FileStore(str(tmp_path / name))


def test_a_read_only_folder_stops_the_start(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError):
        FileStore(str(tmp_path))


def test_a_folder_that_vanishes_is_a_fault_not_an_empty_store(
    store: FileStore, folder: Path
) -> None:
    with_two_versions(store)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="gone or not mounted"):
        store.load(KEY)
    with pytest.raises(StoreUnavailable):
        store.save(KEY, b"x", FUTURE, expected_version=2)
    with pytest.raises(StoreUnavailable):
        store.create(store_key(new_id()), b"x", FUTURE)
    with pytest.raises(StoreUnavailable):
        store.delete(KEY)
    with pytest.raises(StoreUnavailable):
        store.ping()
    assert not folder.exists()
    folder.with_name("elsewhere").rename(folder)
    assert store.load(KEY) == NEW


def test_existing_files_need_no_migration(store: FileStore, folder: Path) -> None:
    with_two_versions(store)
    assert FileStore(str(folder)).load(KEY) == NEW


def test_a_lock_that_is_never_free_is_a_fault_at_the_deadline(store: FileStore) -> None:
    path = with_two_versions(store)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert store.load(KEY) == NEW  # readers do not wait
        for call in (
            lambda: store.save(KEY, b"x", FUTURE, expected_version=2),
            lambda: store.delete(KEY),
            lambda: store.touch(KEY, FUTURE + 5),
        ):
            with pytest.raises(LockTimeout):
                call()
    assert store.save(KEY, b"x", FUTURE, expected_version=2) == 3


def test_a_forked_child_does_not_keep_the_lock(store: FileStore) -> None:
    """A child forked while the lock is held has the descriptor too; it must not block others."""
    with_two_versions(store)
    with store._files._locked(KEY):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
    try:
        assert store.save(KEY, b"x", FUTURE, expected_version=2) == 3
    finally:
        for process in (pid, child.pid):
            os.kill(process, 9)
        os.waitpid(pid, 0)
        child.wait()


@pytest.mark.parametrize("fsync", ["none", "data", "full"])
def test_every_fsync_policy_stores_and_deletes(folder: Path, fsync: Any) -> None:
    store = FileStore(str(folder), fsync=fsync)
    with_two_versions(store)
    store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    assert store.load(KEY) == Record(3, b"x" * 10_000, FUTURE)
    store.delete(KEY)
    assert store.load(KEY) is None


def test_a_failed_fsync_is_not_retried_on_the_same_pages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record goes through a file of its own; if that fails too, the old one stands."""
    store = FileStore(str(folder), fsync="data")
    path = with_two_versions(store)
    inodes: list[int] = []
    failing = 1

    def fdatasync(fd: int) -> None:
        inodes.append(os.fstat(fd).st_ino)
        if len(inodes) <= failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    before = path.stat().st_ino
    assert store.save(KEY, b"through a new file", FUTURE, expected_version=2) == 3
    assert inodes[0] == before
    assert inodes[1] != before
    assert store.load(KEY) == Record(3, b"through a new file", FUTURE)
    inodes.clear()
    failing = 100
    with pytest.raises(StoreUnavailable, match="disk"):
        store.save(KEY, b"lost", FUTURE, expected_version=3)
    assert len(inodes) == len(set(inodes)) == 2
    assert store.load(KEY) == Record(3, b"through a new file", FUTURE)


def test_a_full_file_system_leaves_the_old_record(folder: Path) -> None:
    """RLIMIT_FSIZE refuses every byte past the limit, as a full disk does."""
    program = """
import resource, signal, sys
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file import FileStore
store, key = FileStore(sys.argv[1]), sys.argv[2]
store.create(key, b"kept", 4e9)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.save(key, b"x" * 50_000, 4e9, expected_version=1)
except StoreUnavailable as error:
    assert error.attempts > 1
    assert store.load(key).payload == b"kept"
    store.save(key, b"still fits", 4e9, expected_version=1)
    store.delete(key)
    print("refused")
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder), KEY],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "refused\n"
    assert list((folder / "sessions").rglob(".tmp-*")) == []


# -- sweeping ----------------------------------------------------------------------------------


def test_leftovers_are_removed_whoever_left_them(folder: Path) -> None:
    backend = open_files(str(folder))
    backend.sessions.create(KEY, b"x", FUTURE)
    shard = path_of(folder).parent
    (shard / ".tmp-1-orphan").write_text("")
    (shard / ".nfs0000000000000001").write_text("alive")
    old = shard / ".nfs0000000000000002"
    old.write_text("long unused")
    os.utime(old, (1, 1))
    with backend.locks.hold(KEY, 1):
        (folder / "locks" / store_key(new_id())).write_text("")
        sweep = Sweeper(backend, interval=60, max_sessions=1).sweep()
        assert (folder / "locks" / KEY).exists()
    assert sweep == (0, {"temporaries": 1, "nfs": 1, "locks": 1, "index": 0}, 1)
    assert sorted(path.name for path in shard.iterdir()) == sorted([".nfs0000000000000001", KEY])


def test_a_temporary_that_is_being_written_is_left_alone(store: FileStore, folder: Path) -> None:
    path_of(folder).parent.mkdir()
    temporary = store._files._write_temporary(str(path_of(folder)), KEY, NEW)
    with temporary.file:
        assert Sweeper(open_files(str(folder)), interval=60).sweep().leftovers["temporaries"] == 0
    assert Sweeper(open_files(str(folder)), interval=60).sweep().leftovers["temporaries"] == 1


def test_a_sweep_that_takes_a_fresh_temporary_for_an_orphan_loses_nothing(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes by between the making of the file and its lock."""
    with_two_versions(store)
    swept: list[int] = []
    flock = fcntl.flock

    def sweep_first(fd: int, operation: int) -> None:
        if ".tmp-" in os.readlink(f"/proc/self/fd/{fd}") and len(swept) < 3:
            swept.append(1)
            os.unlink(os.readlink(f"/proc/self/fd/{fd}"))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    assert store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2) == 3
    assert len(swept) == 3
    store.create(store_key(new_id()), b"x", FUTURE)
    assert store.load(KEY) == Record(3, b"x" * 10_000, FUTURE)


def test_one_process_is_elected_at_a_time_and_then_nobody_for_a_while(folder: Path) -> None:
    first, second = open_files(str(folder)).leftovers, open_files(str(folder)).leftovers
    assert first is not None
    assert second is not None
    with first.elect(60) as one, second.elect(60) as other:
        assert (one, other) == (True, False)
    with second.elect(60) as other:
        assert not other
    with second.elect(0) as other:
        assert other


def test_the_sweeper_runs_once_per_process_and_logs_what_it_did(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = open_files(str(folder))
    backend.sessions.create(KEY, b"x", time.time() - 5)
    sweeper = Sweeper(backend, interval=3600)
    before = threading.active_count()
    for _ in range(3):
        sweeper.ensure_running()
    assert threading.active_count() <= before + 1
    deadline = time.monotonic() + 10
    while "removed 1 expired" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    sweeper.stop()
    assert "removed 1 expired" in caplog.text
    assert not path_of(folder).exists()


def test_a_cap_sweeps_early_and_never_evicts_a_live_session(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_files(str(folder))
    sweeper = Sweeper(backend, interval=3600, max_sessions=5)
    keys = [store_key(new_id()) for _ in range(8)]
    for key in keys:
        backend.sessions.create(key, b"x", FUTURE)
        sweeper.note_created()
    assert sweeper._wake.is_set()
    sweeper._sweep_if_elected()
    assert backend.iteration.count() == 8
    assert "8 live sessions" in caplog.text


# -- the secret --------------------------------------------------------------------------------


def test_all_workers_get_one_secret(folder: Path) -> None:
    FileStore(str(folder))
    keepers = [open_files(str(folder)).secret for _ in range(8)]
    found: list[str] = []
    barrier = threading.Barrier(8)

    def ask(keeper: Any) -> None:
        barrier.wait()
        found.append(keeper.secret())

    threads = [threading.Thread(target=ask, args=(keeper,)) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) >= 32
    assert sorted(p.name for p in folder.iterdir() if "secret" in p.name) == ["secret"]


def test_a_secret_that_others_can_read_stops_the_start(folder: Path) -> None:
    keeper = open_files(str(folder)).secret
    assert keeper is not None
    keeper.secret()
    (folder / "secret").chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by other users"):
        keeper.secret()


# -- the layout --------------------------------------------------------------------------------


def test_any_bytes_parse_or_are_of_a_newer_format() -> None:
    chance = random.Random(20260101)
    for _ in range(3000):
        data = bytearray(pack_file(NEW, KEY))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(140)] = chance.randrange(256)
        try:
            record = parse(
                bytes(data[: chance.choice([len(data), chance.randint(0, 200)])]), KEY
            ).record
        except UnsupportedFormat:
            continue
        assert record is None or record.payload == NEW.payload
