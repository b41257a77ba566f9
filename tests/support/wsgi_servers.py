"""Other WSGI servers than gunicorn, each with `matrix_app` on a loopback port of its own.

Each is started as a subprocess in a folder of its own and stopped by its own process id.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matrix_app
import race_app
from gunicorn_server import SECRET, HttpBrowser
from redis_servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TESTS = Path(__file__).parent
_IMPORTED = "wsgi_sessions werkzeug markupsafe itsdangerous portalocker redis hiredis msgspec click"
_MOD_WSGI = Path("/usr/lib/apache2/modules/mod_wsgi.so")


class ServedSite(NamedTuple):
    """A folder for one server, its port and what its workers find in their environment."""

    folder: Path
    port: int
    environ: Mapping[str, str]


class Running(NamedTuple):
    """A server that answers."""

    name: str
    site: ServedSite
    process: subprocess.Popen[bytes]

    def browser(self) -> HttpBrowser:
        """A browser without cookies."""
        return HttpBrowser(self.site.port)

    @property
    def log(self) -> str:
        """What server and application have logged so far."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.site.folder.glob("*log"))
        )


def gunicorn(site: ServedSite) -> list[str]:
    """Three workers with threads."""
    return [
        *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{site.port}"),
        *("--workers", "3", "--threads", "4", "matrix_app"),
    ]


def uwsgi(site: ServedSite) -> list[str]:
    """A master with three processes; threads on, as background refreshing needs them."""
    return [
        *(os.path.join(sysconfig.get_path("scripts"), "uwsgi"), "--need-app", "--master"),
        *("--http-socket", f"127.0.0.1:{site.port}", "--module", "matrix_app"),
        *("--processes", "3", "--threads", "2", "--enable-threads", "--die-on-term"),
    ]


def waitress(site: ServedSite) -> list[str]:
    """One process with threads."""
    return [
        *(sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{site.port}"),
        *("--threads=8", "matrix_app:application"),
    ]


def granian(site: ServedSite) -> list[str]:
    """Three workers."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(site.port), "--workers", "3", "matrix_app:application"),
    ]


def mod_wsgi(site: ServedSite) -> list[str]:
    """Apache in the foreground, with a daemon group of three processes.

    The module brings the system's own interpreter. As root, Apache's workers are another user, who
    may not be allowed to read this checkout: they get a copy of what they import.
    """
    packages = site.folder / "packages"
    for name in _IMPORTED.split():
        (found,) = importlib.import_module(name).__path__
        shutil.copytree(found, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    for module in (matrix_app, race_app):
        shutil.copy(str(module.__file__), packages)
    lines = [
        *("import os, sys", f"sys.path.insert(0, {str(packages)!r})"),
        f"os.environ.update({dict(site.environ)!r})",
        "from matrix_app import create",
        "application = create()",
    ]
    (site.folder / "app.wsgi").write_text("\n".join(lines) + "\n")
    config = site.folder / "apache.conf"
    config.write_text(_APACHE.format(folder=site.folder, port=site.port))
    if os.geteuid() == 0:
        shutil.chown(site.folder, "www-data", "www-data")
    site.folder.chmod(0o755)
    return ["apache2", "-X", "-f", str(config)]


_APACHE = """\
ServerName 127.0.0.1
ServerRoot {folder}
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/error.log
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess site processes=3 threads=4
WSGIScriptAlias / {folder}/app.wsgi process-group=site application-group=%{{GLOBAL}}
<Directory {folder}>
Require all granted
</Directory>
"""

SERVERS: Mapping[str, Callable[[ServedSite], list[str]]] = {
    server.__name__: server for server in (gunicorn, uwsgi, waitress, granian, mod_wsgi)
}


def missing(name: str) -> str | None:
    """Why a server cannot be run here, or None."""
    if name == "uwsgi":
        found = os.path.exists(os.path.join(sysconfig.get_path("scripts"), "uwsgi"))
        return None if found else "uWSGI is not installed"
    if name == "mod_wsgi":
        if shutil.which("apache2") is None or not _MOD_WSGI.exists():
            return "Apache with mod_wsgi is not installed"
        fits = Path(f"{_MOD_WSGI}-{sys.version_info[0]}.{sys.version_info[1]}").exists()
        return None if fits else "mod_wsgi is built for another Python"
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


@contextmanager
def running(name: str, environ: Mapping[str, str]) -> Iterator[Running]:
    """A server with these further variables in its environment; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"ws-{name}-"))
    folder.joinpath("file.bin").write_bytes(os.urandom(1_000_000))
    folder.joinpath("events").touch()
    folder.joinpath("events").chmod(0o666)
    variables = {
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_URL": f"file://{folder}/sessions",
        "WSGI_SESSIONS_REFRESH_INTERVAL": "1",
        race_app.EVENTS: f"{folder}/events",
        matrix_app.FILE: f"{folder}/file.bin",
        **environ,
    }
    site = ServedSite(folder, _free_port(), variables)
    process = _start(site, SERVERS[name](site))
    try:
        wait_until(lambda: _answers(site.port, process), f"{name} to answer", 30)
        yield Running(name, site, process)
    except BaseException:
        print(Running(name, site, process).log)
        raise
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(site: ServedSite, command: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(_TESTS), *(p for p in sys.path if p)])
    with open(site.folder / "log", "wb") as log:
        return subprocess.Popen(
            command,
            cwd=site.folder,
            env={**os.environ, "PYTHONPATH": path, **site.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # a group of its own, workers included
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server has ended"
    try:
        return HttpBrowser(port).get("/none").status == 200
    except OSError:
        return False
