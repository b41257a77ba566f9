"""A terminal as the documents' transcripts use it: a few commands, jobs, variables, cookie jars."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from redis_servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

_OURS = ("WSGI_SESSIONS_", "USE_REDIS_SESSIONS", "SECRET_KEY", "PERMANENT_SESSION_LIFETIME")
_LISTENS = "localhost:8000"  # where gunicorn listens by default
_REDIS = "redis://localhost:6379/0"
_CONFIG = str(Path(__file__).parent / "gunicorn_conf.py")


def steps(transcript: str) -> list[tuple[str, str]]:
    """Return the commands of a transcript, each with what it printed."""
    return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", transcript, re.MULTILINE)


@contextmanager
def gunicorn(folder: Path, words: list[str], environ: dict[str, str]) -> Iterator[int]:
    """Run gunicorn in a folder, on the port that this gives."""
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("ab") as log:
        bind = ["--bind", f"fd://{listener.fileno()}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", _CONFIG, *bind, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
        )
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.terminate()
            process.wait(30)


class Shell:
    """Runs commands in a folder, with nothing of this package set in the environment.

    A context manager: jobs end with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {n: v for n, v in os.environ.items() if not n.startswith(_OURS)}
        self.environ["XDG_STATE_HOME"] = str(folder / "state")
        self._jobs: dict[int, ExitStack] = {}
        self._curl = Curl()
        self._redis_url = _REDIS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in [*self._jobs]:
            self._kill(f"%{number}")

    @property
    def log(self) -> str:
        """What gunicorn has logged."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def run(self, command: str) -> str:
        """Return what a command prints."""
        if "; " in command:
            return "".join(map(self.run, command.split("; ")))
        program, *words = shlex.split(self._substituted(command), comments=True)
        own: dict[str, Callable[[list[str]], str]] = {
            "curl": self._curl.run,
            "export": self._export,
            "kill": lambda words: self._kill(*words),
            "wait": lambda words: self._wait(*words),
            "redis-server": self._redis_server,
            ".venv/bin/gunicorn": self._gunicorn,
            ".venv/bin/wsgi-sessions": self._command,
        }
        return own[program](words)

    def _substituted(self, command: str) -> str:
        """With the output of ``$(…)`` in its place."""
        return re.sub(r"\$\((.*?)\)", lambda found: self.run(found[1]).strip(), command)

    def _export(self, words: list[str]) -> str:
        (word,) = words
        name, _, value = word.partition("=")
        self.environ[name] = value.replace(_REDIS, self._redis_url)
        return ""

    def _command(self, words: list[str]) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "wsgi_sessions", *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _gunicorn(self, words: list[str]) -> str:
        assert words.pop() == "&"
        self._curl.port = self._start().enter_context(gunicorn(self.folder, words, self.environ))
        return ""

    def _redis_server(self, words: list[str]) -> str:
        assert words == ["--port", "6379", "--save", "", "&"]
        server = self._start().enter_context(RedisServer())
        self.environ = {n: v.replace(_REDIS, server.url) for n, v in self.environ.items()}
        self._redis_url = server.url
        return ""

    def _start(self) -> ExitStack:
        return self._jobs.setdefault(max(self._jobs, default=0) + 1, ExitStack())

    def _kill(self, job: str) -> str:
        """End it; its number stays taken until it was waited for, as in a shell at a prompt."""
        self._jobs[int(job.removeprefix("%"))].close()
        return ""

    def _wait(self, job: str) -> str:
        del self._jobs[int(job.removeprefix("%"))]
        return ""


class Curl:
    """As much of curl as the transcripts use, with cookie jars by name."""

    def __init__(self) -> None:
        self.port = 0
        self._jars: dict[str | None, dict[str, str]] = {}
        self._parser = argparse.ArgumentParser("curl", exit_on_error=False)
        for switch in ("-s", "-Z", "--no-progress-meter"):
            self._parser.add_argument(switch, action="store_true")
        for option in ("-b", "-c", "-d", "-o", "-w"):
            self._parser.add_argument(option)
        self._parser.add_argument("url")

    def run(self, words: list[str]) -> str:
        """Return what the command prints."""
        options = self._parser.parse_args(words)
        urls = self._expand(options.url)
        assert (len(urls) > 1) == options.Z
        with ThreadPoolExecutor(len(urls)) as pool:
            answers = list(pool.map(lambda url: self._request(url, options), urls))
        bodies = "" if options.o == "/dev/null" else "".join(body for _, body in answers)
        if options.w is None:
            assert {status for status, _ in answers} == {200}, bodies
            return bodies
        assert options.w == r"%{http_code}\n"
        return bodies + "".join(f"{status}\n" for status, _ in answers)

    def _expand(self, url: str) -> list[str]:
        """The URLs that ``[1-8]`` stands for."""
        globbed = re.fullmatch(r"(.*)\[(\d)-(\d)\](.*)", url)
        if globbed is None:
            return [url]
        before, first, last, after = globbed.groups()
        return [f"{before}{number}{after}" for number in range(int(first), int(last) + 1)]

    def _request(self, url: str, options: argparse.Namespace) -> tuple[int, str]:
        parts = urlsplit(f"http://{url}")
        assert parts.netloc == _LISTENS
        cookies = self._jars.get(options.b, {})
        headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())} if cookies else {}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            method = "GET" if options.d is None else "POST"
            connection.request(method, parts.path, body=options.d, headers=headers)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if options.c:
            name, _, value = response.headers["Set-Cookie"].partition(";")[0].partition("=")
            self._jars[options.c] = {**cookies, name: value}
        return response.status, body
