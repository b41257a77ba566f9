"""The ownership of the session folder and its files: others' are never trusted.

Anyone who can write to the folder can put a session there, with the rights of any user. So the
folder belongs to the user of this process, or to root, and no group or other user may write to it.
"""

from __future__ import annotations

import grp
import os
import secrets
import stat
from contextlib import suppress
from typing import NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores.file.disk.folders import make_folder
from wsgi_sessions.stores.file.disk.owners import user_name
from wsgi_sessions.stores.file.disk.system import CREATE

_CLOSED = stat.S_IRWXG | stat.S_IRWXO
_log = texts.log(__name__)


@texts.shows("group")
class Ownership(NamedTuple):
    """The user ids whose files are trusted, and the group that may write to the folder, if any."""

    owners: frozenset[int]
    group: int | None = None


def prepare(folder: str, marker: str, group: str | None = None) -> Ownership:
    """Make the folder, private, with `marker` in it, if they are missing; and check the owner.

    Trusted are the user of this process, root, and the user to whom a network file system maps this
    one. If the folder is this user's, but its own group may write to it, as Kubernetes leaves it at
    each mount, it is closed again with a warning. `group` names a group whose members may write to
    it.

    Raises ConfigurationError if the folder, or the store's part of it, belongs to another user, can
    be written to by others or is a link, and if it cannot be made.
    """
    if os.path.islink(folder):
        raise ConfigurationError(
            f"the session folder {folder} is a link, which may lead elsewhere tomorrow: name the "
            "folder that it leads to"
        )
    make_folder(folder)
    ours = Ownership(_owners(folder), _number_of(group))
    _require_ours(folder, os.lstat(folder), ours)
    _require_closed(folder, ours)
    sessions = os.path.join(folder, "sessions")
    make_folder(sessions)
    _require_ours(sessions, os.lstat(sessions), ours)
    _make_marker(folder, marker)
    _require_ours(marker, os.lstat(marker), ours)
    return ours


def inspect(folder: str, marker: str, group: str | None = None) -> Ownership:
    """Return the owner of the folder, for inspection: nothing is made or changed.

    Raises ConfigurationError if it is missing, belongs to another user or is a link.
    """
    ours = Ownership(_owners_seen(folder), _number_of(group))
    for path in (folder, os.path.join(folder, "sessions"), marker):
        try:
            status = os.lstat(path)
        except OSError as error:
            raise ConfigurationError(
                f"there are no sessions in {folder} yet ({path}: {error.strerror}): the first "
                "worker that uses it makes it, this command does not. Is it the folder of the "
                "application (`url`, --url)?"
            ) from error
        _require_ours(path, status, ours)
    return ours


def _owners_seen(folder: str) -> frozenset[int]:
    """Like `_owners`, without a probe: a network file system lets us write into our own files."""
    ours = frozenset({os.geteuid(), 0})
    with suppress(OSError):
        if 0 not in (os.geteuid(), os.getuid()) and os.access(folder, os.W_OK):
            status = os.lstat(folder)
            if not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return ours | {status.st_uid}
    return ours


def _owners(folder: str) -> frozenset[int]:
    """Return this user and root, and our user on this file system, where it maps users."""
    ours = frozenset({os.geteuid(), 0})
    if os.lstat(folder).st_uid in ours:
        return ours
    probe = os.path.join(folder, f".probe-{secrets.token_hex(8)}")
    try:
        fd = os.open(probe, CREATE, 0o600)
    except OSError:
        return ours
    try:
        return ours | {os.fstat(fd).st_uid}
    finally:
        os.close(fd)
        os.unlink(probe)


def _require_ours(path: str, status: os.stat_result, ours: Ownership) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(f"{path} is a link: inspect it, and remove it")
    if status.st_uid not in ours.owners:
        raise ConfigurationError(
            f"{path} belongs to user {user_name(status.st_uid)}, and this process is user "
            f"{user_name(os.geteuid())}: run it as the owner; or, after a look at what is in it, "
            f"chown -R {os.geteuid()} it; or name another folder in `url`"
        )


def _require_closed(folder: str, ours: Ownership) -> None:
    """Refuse write access of other users and groups, except the group that a setting names."""
    status = os.lstat(folder)
    if status.st_mode & stat.S_IWOTH:
        raise ConfigurationError(_open_to_all(folder))
    if not status.st_mode & stat.S_IWGRP or status.st_gid == ours.group:
        return
    if not close_to_own_group(folder, status).st_mode & stat.S_IWGRP:
        return
    raise ConfigurationError(
        f"the group {_group_name(status.st_gid)} may write to the session folder {folder}, and so "
        f"forge sessions: chmod 700 it after a look at what is in it; name a new folder inside it; "
        f"or, if all members are trusted, set `folder_group`={_group_name(status.st_gid)}"
    )


def close_to_own_group(path: str, status: os.stat_result) -> os.stat_result:
    """Take write access from this process' group on what this user owns; return the new status.

    What others own, what belongs to another group and what cannot be changed stays as it is.
    """
    if status.st_uid != os.geteuid() or status.st_gid not in {os.getegid(), *os.getgroups()}:
        return status
    with suppress(PermissionError):
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~(_CLOSED | stat.S_ISGID))
        _log.warning(
            "%s was open to group %s, and is closed again. If Kubernetes opens it at each mount "
            "(fsGroup), set fsGroupChangePolicy: OnRootMismatch for the pod, and give it "
            "secret keys of its own (`secret_keys`); or name the group in `folder_group`",
            path,
            _group_name(status.st_gid),
        )
    return os.lstat(path)


def _open_to_all(folder: str) -> str:
    found = f"the session folder {folder} is writable by everybody"
    if _keeps_modes(folder):
        return (
            f"{found}: chmod 700 it after a look at what is in it, or name a new folder inside it"
        )
    return (
        f"{found}, and its file system keeps no modes, so that chmod has no effect and each folder "
        "inside it is the same: mount it with uid=, dir_mode=0700 and file_mode=0600 (Azure Files, "
        "SMB), or name a folder on a volume of the container's own (Docker Desktop), or keep the "
        "sessions in Redis or SQL"
    )


def _keeps_modes(folder: str) -> bool:
    """Return whether a folder that is made private here stays private."""
    probe = os.path.join(folder, f".probe-{secrets.token_hex(8)}")
    try:
        os.mkdir(probe, 0o700)
    except OSError:
        return True  # that is another fault
    try:
        return not os.lstat(probe).st_mode & _CLOSED
    finally:
        os.rmdir(probe)


def _make_marker(folder: str, marker: str) -> None:
    try:
        os.close(os.open(marker, CREATE, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"the session folder {folder} is not writable ({error.strerror}): name another one in "
            "`url`, or change its permissions"
        ) from error


def _number_of(group: str | None) -> int | None:
    if group is None:
        return None
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigurationError(f"`folder_group`={group}: there is no such group here") from None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
