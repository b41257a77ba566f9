"""Commands work on a session folder as the user whom it belongs to, or not at all.

What another user leaves in the folder, root above all, the application's workers could not use. A
folder or a SQLite database that a command of root's is to make belongs to the user in whose folder
it will lie. (In a database that is there, SQLite gives what root makes to its owner.)
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

# What is imported on use may lie in a folder that the other user cannot read.
_LATE_MODULES = ("wsgi_sessions.stores.file.backend", "wsgi_sessions.stack.build", "grp", "uuid")


def take_on_owner(urls: Iterable[str | None]) -> None:
    """Go on as the owner of the session folders among the stores at `urls`, if root began; of one
    that is not there yet, as the owner of the folder around it.

    Raises ConfigurationError, with the line to run instead, if that cannot be: for anybody else
    than root, and where the folders belong to several users.
    """
    folders = [folder for url in urls if url and (folder := _owned_at(url))]
    owners = {uid: folder for folder in folders for uid in _others(folder)}
    for uid, folder in owners.items():
        if len(owners) > 1 or not _become(uid, folder):
            raise ConfigurationError(
                f"the folder {folder} belongs to user {user_name(uid)}, and this process "
                f"is user {user_name(os.geteuid())}. Run it as its owner: {line_as(uid)}"
            )


def missing_folder(config: Config) -> str | None:
    """The session folder that the settings name, if it is not there."""
    folder = _folder_at(config.urls[0]) if len(config.urls) == 1 else None
    return None if folder is None or os.path.lexists(folder) else folder


def line_as(uid: int) -> str:
    """The command line that runs this command as a user. No password is in it."""
    try:
        who = pwd.getpwuid(uid).pw_name
    except KeyError:
        who = f"#{uid}"
    given = [hide_credentials(text) if "://" in text else text for text in sys.argv[1:]]
    return shlex.join(["sudo", "-E", "-u", who, *_program(), *given])


def _program() -> list[str]:
    """What was called: this package's own command, or Flask's."""
    context = click.get_current_context(silent=True)
    name = None if context is None else context.find_root().info_name
    return name.split() if name and name.endswith("flask") else ["wsgi-sessions"]


def _folder_at(url: str) -> str | None:
    return unquote(urlsplit(url).path) if url.startswith("file:") else None


def _owned_at(url: str) -> str | None:
    """The folder whose owner a command should be."""
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
    """The file of a SQLite database."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] != "sqlite" or parts.netloc:
        return None
    path = unquote(parts.path.removeprefix("/"))
    return None if path in ("", ":memory:") or path.startswith("file:") else path


def _others(folder: str) -> list[int]:
    """The owner, if it is another user whose folder this process could not use as its own."""
    try:
        uid = os.stat(folder).st_uid
    except OSError:
        return []  # not there, or not to be seen: opening it says so
    # A network file system that makes another user of this one lets it write.
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
        groups, gid = [uid], uid  # a container's user without a name
    else:
        groups, gid = os.getgrouplist(user.pw_name, user.pw_gid), user.pw_gid
    before = os.getgroups(), os.getegid()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
    except PermissionError:  # a container may not, or not all of it
        with suppress(PermissionError):
            _give_back_groups(*before)
        return False
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        _go_back(*before)  # behind a folder that keeps this user out
        return False
    context = click.get_current_context(silent=True)
    if context is not None:
        context.find_root().call_on_close(lambda: _go_back(*before))
    return True


def _go_back(groups: list[int], gid: int) -> None:
    """To root: a program that calls a command goes on."""
    os.seteuid(0)
    _give_back_groups(groups, gid)


def _give_back_groups(groups: list[int], gid: int) -> None:
    os.setegid(gid)
    os.setgroups(groups)
