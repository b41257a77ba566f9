"""Commands work on a session folder as its owner, or not at all.

The application's workers could not use files that another user, above all root, leaves in the
folder. A folder or SQLite database that root creates by a command belongs to the owner of the
folder around it. (In an existing database, SQLite gives files that root makes to its owner.)
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stores.file.disk.owners import user_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.stack.config import Config

# Modules imported on use may be in a folder that the other user cannot read.
_LATE_MODULES = ("wsgi_sessions.stores.file.backend", "wsgi_sessions.stack.build", "grp", "uuid")


def take_on_owner(urls: Iterable[str | None]) -> None:
    """Continue as the owner of the session folders at `urls`, if the process is root; for a missing
    folder, as the owner of the folder around it.

    Raises ConfigurationError, with the command to run instead, if that is impossible: for users
    other than root, and if the folders belong to several users.
    """
    folders = [folder for url in urls if url and (folder := _owned_at(url))]
    owners = {uid: folder for folder in folders for uid in _others(folder)}
    for uid, folder in owners.items():
        if len(owners) > 1 or not _become(uid, folder):
            raise ConfigurationError(
                f"the folder {folder} belongs to user {user_name(uid)}, and this process "
                f"is user {user_name(os.geteuid())}. Run it as its owner: {line_as(uid)}"
            )


def by_command(name: str) -> str:
    """Return a command with the user of the system who runs it, for traces and the log."""
    return f"command {name} of {os.environ.get('SUDO_USER') or user_name(os.getuid())}"


def missing_folder(config: Config) -> str | None:
    """Return the session folder of the settings, if it does not exist."""
    folder = _folder_at(config.urls[0]) if len(config.urls) == 1 else None
    return None if folder is None or os.path.lexists(folder) else folder


def line_as(uid: int) -> str:
    """Return the command line that runs this command as a user. It contains no password."""
    try:
        who = pwd.getpwuid(uid).pw_name
    except KeyError:
        who = f"#{uid}"
    given = [hide_credentials(text) if "://" in text else text for text in sys.argv[1:]]
    return shlex.join(["sudo", "-E", "-u", who, *_program(), *given])


def _program() -> list[str]:
    """Return the program that was called: this package's own command, or Flask's."""
    context = click.get_current_context(silent=True)
    name = None if context is None else context.find_root().info_name
    return name.split() if name and name.endswith("flask") else ["wsgi-sessions"]


def _folder_at(url: str) -> str | None:
    return unquote(urlsplit(url).path) if url.startswith("file:") else None


def _owned_at(url: str) -> str | None:
    """Return the folder whose owner the command should run as."""
    folder, database = _folder_at(url), _database_at(url)
    if folder is not None and (os.path.lexists(folder) or os.geteuid() != 0):
        return folder
    if folder is None and (database is None or os.path.lexists(database) or os.geteuid() != 0):
        return None
    around = os.path.dirname(os.path.abspath(folder or database or ""))
    while not os.path.lexists(around):
        around = os.path.dirname(around)
    return around


def _database_at(url: str) -> str | None:
    """Return the file of a SQLite database."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] != "sqlite" or parts.netloc:
        return None
    path = unquote(parts.path.removeprefix("/"))
    return None if path in ("", ":memory:") or path.startswith("file:") else path


def _others(folder: str) -> list[int]:
    """Return the owner, if it is another user whose folder this process cannot use."""
    try:
        uid = os.stat(folder).st_uid
    except OSError:
        return []  # missing or not visible: opening it reports that
    # A network file system that maps this user to another one lets it write.
    if uid in (0, os.geteuid()) or (os.geteuid() != 0 and os.access(folder, os.W_OK)):
        return []
    return [uid]


def _become(uid: int, folder: str) -> bool:
    if os.geteuid() != 0:
        return False
    for name in _LATE_MODULES:
        import_module(name)
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        groups, gid = [uid], uid  # a user of a container, without a name
    else:
        groups, gid = os.getgrouplist(user.pw_name, user.pw_gid), user.pw_gid
    before = os.getgroups(), os.getegid()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
    except PermissionError:  # a container may not, or only in part
        with suppress(PermissionError):
            _give_back_groups(*before)
        return False
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        _go_back(*before)  # behind a folder that this user may not enter
        return False
    context = click.get_current_context(silent=True)
    if context is not None:
        context.find_root().call_on_close(lambda: _go_back(*before))
    return True


def _go_back(groups: list[int], gid: int) -> None:
    """Return to root: a program that called the command continues."""
    os.seteuid(0)
    _give_back_groups(groups, gid)


def _give_back_groups(groups: list[int], gid: int) -> None:
    os.setegid(gid)
    os.setgroups(groups)
