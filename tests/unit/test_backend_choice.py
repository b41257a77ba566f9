"""Which of several stores is used, and that processes agree on it."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from documents import blocks
from redis_servers import RedisServer, available
from requirements_of_tests import require

from wsgi_sessions import Config, ConfigurationError, build, open_backend
from wsgi_sessions.cli import main
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.health.settings import HealthConfig
from wsgi_sessions.stack.choice.agreement import agree
from wsgi_sessions.stack.choice.chosen import open_chosen
from wsgi_sessions.stack.choice.server_process import Process, server_of_this_process
from wsgi_sessions.stack.sessions import open_refresher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
NAME = "0" * 64
PASSWORD = "hunter2"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer(options={"requirepass": PASSWORD}) as redis:
        yield redis


@pytest.fixture
def config(redis: RedisServer, tmp_path: Path) -> Config:
    """Redis, and if it is down files."""
    return Config(
        url=f"{redis.url.replace('//', f'//:{PASSWORD}@')} file://{tmp_path}/sessions",
        secret_keys=(SECRET,),
        choice_folder=str(tmp_path / "choices"),
        health=HealthConfig(timeout=5),
    )


@pytest.fixture
def environ(config: Config) -> dict[str, str]:
    """The same for another process."""
    return {
        **{name: value for name, value in os.environ.items() if "DATABASE" not in name},
        "WSGI_SESSIONS_URL": config.url,
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_CHOICE_FOLDER": str(config.choice_folder),
    }


def used(config: Config) -> str:
    """The store that a process that comes and goes uses."""
    chosen = open_chosen(config)
    chosen.backend.close()
    return chosen.backend.name


# -- which one -------------------------------------------------------------------------------------


def test_the_first_healthy_store_is_used(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    chosen = open_chosen(config)
    assert chosen.backend.name == "redis"
    assert chosen.config == replace(config, url=config.urls[0])
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "sessions are kept in redis://***@127.0.0.1" in record.getMessage()


def test_an_unhealthy_one_is_passed_over_and_the_log_says_why(
    redis: RedisServer, config: Config, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    redis.kill()
    application = build(lambda *_: [], config)
    assert application.manager.backend.name == "file"
    assert application.config.url == f"file://{tmp_path}/sessions"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"sessions are kept in file://{tmp_path}/sessions" in record.getMessage()
    assert "redis://***@127.0.0.1" in record.getMessage()
    assert "cannot be reached" in record.getMessage()
    assert PASSWORD not in caplog.text
    application.close()


def test_a_store_that_answers_but_takes_no_sessions_is_not_healthy(
    redis: RedisServer, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    assert used(config) == "file"
    assert "memory" in caplog.text


def test_a_wrong_password_is_never_logged(
    redis: RedisServer, config: Config, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    wrong = config.url.replace(PASSWORD, "hunter3")
    assert used(replace(config, url=wrong)) == "file"
    texts = [caplog.text, *(path.read_text() for path in (tmp_path / "choices").iterdir())]
    assert not any("hunter" in text for text in texts)


def test_if_none_is_healthy_the_first_is_used_when_it_is_back(
    redis: RedisServer, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    dead = "redis://127.0.0.1:1/0"
    redis.kill()
    chosen = open_chosen(replace(config, url=f"{config.urls[0]} {dead}"))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "no session store is healthy" in record.getMessage()
    assert dead in record.getMessage()
    redis.start()
    chosen.backend.sessions.ping()


def test_a_store_named_alone_is_not_asked_and_nothing_is_agreed(
    redis: RedisServer, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    alone = replace(config, url=config.urls[0])
    assert open_chosen(alone).config is alone
    assert not (tmp_path / "choices").exists()
    assert not caplog.records


def test_a_senseless_url_stops_the_start_even_behind_a_healthy_store(
    config: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="unknown session store 'redsi'"):
        open_chosen(replace(config, url=f"{config.url} redsi://h"))
    with pytest.raises(ConfigurationError, match="memory:// is a different store in each process"):
        open_chosen(replace(config, url=f"{config.url} memory://"))
    with pytest.raises(ConfigurationError, match="these are several session stores"):
        open_backend(config.url)
    assert used(config) == "redis"


def test_a_database_for_another_purpose_is_passed_over(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {
        "XDG_STATE_HOME": str(tmp_path),
        "DATABASE_URL": "mongodb://h/app",
        "WSGI_SESSIONS_CHOICE_FOLDER": str(config.choice_folder),
    }
    assert used(Config.from_environ(environ)) == "file"
    assert "mongodb://h/app: unknown session store" in caplog.text


def test_several_stores_need_a_secret(config: Config) -> None:
    """Or the application would start or not as Redis does."""
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_SECRET_KEYS is not set") as error:
        build(lambda *_: [], replace(config, secret_keys=()))
    assert PASSWORD not in str(error.value)


# -- agreement -------------------------------------------------------------------------------------


def test_it_stands_while_any_process_that_knows_it_lives(
    redis: RedisServer, config: Config
) -> None:
    first = open_chosen(config)
    redis.kill()
    second = open_chosen(config)
    assert second.backend.name == "redis"
    first.backend.close()  # which may be used again
    del first
    gc.collect()
    assert used(config) == "redis"
    del second
    gc.collect()
    assert used(config) == "file"


def test_processes_that_join_learn_why(
    redis: RedisServer, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    first = open_chosen(config)
    caplog.clear()
    redis.start()
    refresher, backend = open_refresher(config, refresh=lambda session: None)
    refresher.close()
    assert backend.name == first.backend.name == "file"
    (message,) = caplog.messages
    assert "cannot be reached" in message
    assert "agreed by running processes" in message


def test_other_stores_and_other_prefixes_are_another_decision(
    redis: RedisServer, config: Config, tmp_path: Path
) -> None:
    chosen = open_chosen(config)
    redis.kill()
    assert used(replace(config, key_prefix="other:")) == "file"
    assert used(replace(config, url=f"{config.url} file://{tmp_path}/more")) == "file"
    assert used(config) == chosen.backend.name == "redis"


PROGRAM = """
import os, sys
from wsgi_sessions import Config
from wsgi_sessions.stack.choice.chosen import open_chosen

def say():
    chosen = open_chosen(Config.from_environ(os.environ))
    print(chosen.backend.name, flush=True)
    return chosen
"""
PLAIN = PROGRAM + "chosen = say(); sys.stdin.readline()\n"
# These import nothing themselves; for each line, a worker decides, tells and ends.
FORKING = """
import os, sys
for line in sys.stdin:
    child = os.fork()
    if not child:
        from wsgi_sessions import Config
        from wsgi_sessions.stack.choice.chosen import open_chosen
        print(open_chosen(Config.from_environ(os.environ)).backend.name, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
SPAWNING = """
import multiprocessing, os, sys

def work():
    from wsgi_sessions import Config
    from wsgi_sessions.stack.choice.chosen import open_chosen
    print(open_chosen(Config.from_environ(os.environ)).backend.name, flush=True)

if __name__ == "__main__":
    for line in sys.stdin:
        child = multiprocessing.get_context("spawn").Process(target=work)
        child.start()
        child.join()
"""
INHERITING = (
    PROGRAM
    + """
chosen = say()
if os.fork():
    os._exit(0)
sys.stdin.readline()
"""
)


@contextmanager
def running(program: str, environ: dict[str, str], folder: Path) -> Iterator[Other]:
    path = folder / "program.py"
    path.write_text(program)
    process = subprocess.Popen(
        [sys.executable, "-u", str(path)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Other(process)
        process.communicate(timeout=30)


class Other:
    """A process on the same stores, that says which it uses."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def says_at(self, line: str) -> str:
        """What it says to this."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.says()


def test_plain_processes_agree_while_one_of_them_runs(
    redis: RedisServer, config: Config, environ: dict[str, str], tmp_path: Path
) -> None:
    with running(PLAIN, environ, tmp_path) as one:
        assert one.says() == "redis"
        redis.kill()
        with running(PLAIN, environ, tmp_path) as two:
            assert two.says() == "redis"
        assert used(config) == "redis"
    assert used(config) == "file"


def test_a_killed_process_holds_nothing(
    redis: RedisServer, config: Config, environ: dict[str, str], tmp_path: Path
) -> None:
    with running(PLAIN, environ, tmp_path) as one:
        assert one.says() == "redis"
        redis.kill()
        one.process.kill()
        one.process.wait()
        assert used(config) == "file"


@pytest.mark.parametrize("program", [FORKING, SPAWNING], ids=["forked", "spawned"])
def test_a_server_keeps_its_store_while_it_has_no_worker(
    redis: RedisServer, config: Config, environ: dict[str, str], tmp_path: Path, program: str
) -> None:
    with running(program, environ, tmp_path) as server:
        assert server.says_at("work") == "redis"
        redis.kill()
        assert server.says_at("work") == "redis"
        assert used(config) == "redis", "also for a command"
    assert used(config) == "file"


def test_a_fork_inherits_the_choice(
    redis: RedisServer, config: Config, environ: dict[str, str], tmp_path: Path
) -> None:
    with running(INHERITING, environ, tmp_path) as child:
        assert child.says() == "redis"
        child.process.wait(30)  # the parent
        redis.kill()
        assert used(config) == "redis"


def test_commands_look_where_the_server_is(
    redis: RedisServer, config: Config, environ: dict[str, str]
) -> None:
    redis.kill()
    server = open_chosen(config)
    redis.start()
    result = CliRunner().invoke(main, ["check"], env=environ)
    assert result.exit_code == 0, result.stdout
    assert f"{server.backend.name}: healthy" in result.stdout


# -- the server's process --------------------------------------------------------------------------


def test_a_standalone_program_is_not_a_worker() -> None:
    program = (
        "from wsgi_sessions.stack.choice.server_process import *; print(server_of_this_process())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout == b"None\n"
    assert server_of_this_process() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_worker_that_gave_up_the_rights_of_its_server_knows_it() -> None:
    """As under gunicorn's --user."""
    program = """
import os
from multiprocessing import parent_process
from wsgi_sessions.stack.choice.server_process import server_of_this_process
if os.fork():
    os.wait()
else:
    os.setuid(65534)
    server = server_of_this_process()
    print(server.pid == os.getppid(), server.is_alive())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout == b"True True\n"


def test_a_process_differs_from_a_later_one_with_its_number() -> None:
    with open("/proc/self/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    assert Process(os.getpid(), started).is_alive()
    assert not Process(os.getpid(), started - 1).is_alive()


def test_a_process_that_ended_is_dead_at_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    with open(f"/proc/{child.pid}/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not Process(child.pid, started).is_alive()
    child.communicate()


# -- the folder ------------------------------------------------------------------------------------


def test_the_folder_and_its_files_are_private(config: Config, tmp_path: Path) -> None:
    chosen = open_chosen(config)
    (file,) = (tmp_path / "choices").iterdir()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    chosen.backend.close()


def test_an_unsafe_folder_is_refused(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "choices"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match="does not belong to this user alone"):
        open_chosen(config)
    folder.rmdir()
    (tmp_path / "other").mkdir(0o700)
    folder.symlink_to(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_chosen(config)
    folder.unlink()
    folder.touch()
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_CHOICE_FOLDER"):
        open_chosen(config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_s_folder_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "choices").mkdir(0o700)
    os.chown(tmp_path / "choices", 65534, 65534)
    with pytest.raises(ConfigurationError, match="does not belong to this user alone"):
        open_chosen(config)


def test_a_link_in_the_folder_is_not_followed(config: Config, tmp_path: Path) -> None:
    chosen = open_chosen(config)
    (file,) = (tmp_path / "choices").iterdir()
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_chosen(config)
    chosen.backend.close()


def test_by_default_it_is_in_the_folder_for_temporary_files(
    environ: dict[str, str], tmp_path: Path
) -> None:
    del environ["WSGI_SESSIONS_CHOICE_FOLDER"]
    with running(PLAIN, {**environ, "TMPDIR": str(tmp_path)}, tmp_path) as process:
        assert process.says() == "redis"
        assert len(list((tmp_path / f"wsgi_sessions-{os.geteuid()}").iterdir())) == 1


def test_old_files_are_removed_at_the_next_decision_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "choices"
    agreed = agree(str(folder), "1" * 64, lambda: "one", timeout=5)
    for name in ("2" * 64, "3" * 64 + ".new", NAME + ".new", "other"):
        (folder / name).write_text("left\n")
    agree(str(folder), NAME, lambda: "zero", timeout=5)
    assert {path.name for path in folder.iterdir()} == {"1" * 64, NAME, "other"}
    again = agree(str(folder), "1" * 64, lambda: "not asked", timeout=5)
    assert (again.text, again.is_new) == (agreed.text, False)


def test_nothing_is_agreed_if_no_process_can_decide(tmp_path: Path) -> None:
    def fail() -> str:
        raise ConfigurationError("no idea")

    folder = str(tmp_path / "choices")
    with pytest.raises(ConfigurationError, match="no idea"):
        agree(folder, NAME, fail, timeout=5)
    assert agree(folder, NAME, lambda: "one", timeout=5).text == "one"


def test_a_process_stuck_at_deciding_is_not_waited_for_forever(tmp_path: Path) -> None:
    folder = str(tmp_path / "choices")

    def decide() -> str:
        with pytest.raises(LockTimeout, match="stays locked by another process"):
            agree(folder, NAME, lambda: "two", timeout=0.05)
        return "one"

    assert agree(folder, NAME, decide, timeout=5).text == "one"


def test_an_agreement_of_a_newer_release_is_not_overruled(config: Config, tmp_path: Path) -> None:
    chosen = open_chosen(config)
    (file,) = (tmp_path / "choices").iterdir()
    file.write_text('{"type":"choice.v9","where":"elsewhere"}\n')
    with pytest.raises(ConfigurationError, match="stop all of them"):
        open_chosen(config)
    del chosen
    gc.collect()
    assert used(config) == "redis"


def test_the_readme_names_several_stores() -> None:
    lines = (line for text in blocks("sh") for line in text.split("\n"))
    (line,) = (line for line in lines if " file:///" in line and "_URL=" in line)
    name, _, value = line.partition("=")
    assert len(Config.from_environ({name: value.strip("'")}).urls) == 2
