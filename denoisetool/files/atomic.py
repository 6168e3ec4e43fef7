"""A file appears whole or not at all, and leftovers of killed runs can be told from live ones."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from denoisetool.errors import DenoiseError, DiskFull, OutputError, OutputExists
from denoisetool.files.names import is_folder

STALE_SECONDS = 24 * 3600.0
"""Past this age an unfinished file is dead, whichever host and process its name tells of."""

_TEMPORARY = re.compile(r"\.denoisetool-(?P<host>.+)-(?P<pid>[0-9]+)-[0-9a-f]{16}\.part")
_CREATE_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINKS = {
    *(errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EXDEV, errno.EINVAL),
    *(errno.ENOTSUP, errno.EOPNOTSUPP),
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_GONE = {
    errno.EIO,
    errno.ENODEV,
    errno.ENXIO,
    errno.EROFS,
    getattr(errno, "ESTALE", errno.EIO),
}
_ALMOST_NOTHING = 1 << 20
_RETRIES = 5
_ELSEWHERE = "choose another place with -o"


@contextmanager
def atomic_write(
    target: Path, *, overwrite: bool, copy_times: os.stat_result | None = None
) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside its place and rename it when it is complete.

    Missing folders are made. The file yielded is empty, seekable, open for reading and writing,
    and has the permission bits of any new file of this user; `copy_times` gives it another file's
    access and modification times. When the block ends, the content is synced to the disk, renamed,
    and the rename synced. When the block raises anything at all, nothing is left behind.

    A target that is a link is replaced; what it leads to is not touched. With `overwrite` off a
    file that appears while the block runs is not replaced either: the last step is a hard link,
    which cannot replace, or, on disks without hard links, an empty file that claims the name.

    Raises:
        OutputExists: the target is there, at the start or at the end, and `overwrite` is off.
        OutputError: no permission, a name too long, a folder in the way; DiskFull: no space.
    """
    try:
        _check_place(target, overwrite=overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / _temporary_name()
        descriptor = os.open(temporary, _CREATE_FLAGS, 0o666)
    except OSError as error:
        raise _output_error(error, target) from error
    try:
        file = os.fdopen(descriptor, "w+b")
        try:
            with _full_disk_told(target):
                yield file
            with errors_told(target):
                file.flush()
                _sync(file.fileno())
        finally:
            with contextlib.suppress(OSError):  # what could not be written is told already
                file.close()
        with errors_told(target):
            if copy_times is not None:
                with contextlib.suppress(OSError):  # some network shares keep no times
                    os.utime(temporary, ns=(copy_times.st_atime_ns, copy_times.st_mtime_ns))
            _put(temporary, target, overwrite=overwrite)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `atomic_write` uses for what is not finished yet."""
    return _TEMPORARY.fullmatch(name) is not None


def clean_leftovers(folder: Path) -> int:
    """Remove the unfinished files that killed runs left in a folder (not below it).

    Removed is what a process of this host left that runs no more, and anything that has not
    changed for a day, since process numbers come round again and hosts come and go.

    Returns:
        How many were removed; 0 too if the folder cannot be read.
    """
    removed = 0
    try:
        with os.scandir(folder) as entries:
            found = [(entry, _TEMPORARY.fullmatch(entry.name)) for entry in entries]
    except OSError:
        return 0
    for entry, match in found:
        if match is None:
            continue
        with contextlib.suppress(OSError):
            if _is_dead(entry.stat(follow_symlinks=False), match["host"], int(match["pid"])):
                Path(entry.path).unlink()
                removed += 1
    return removed


def free_bytes(path: Path) -> int:
    """Free space for this user where `path` is, or where it would be made.

    Raises:
        OutputError: no part of the path can be asked.
    """
    absolute = path.absolute()
    for place in (absolute, *absolute.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    raise OutputError("cannot tell the free space", path=path)


def _temporary_name() -> str:
    """A name of bounded length, whatever the target's: host, process, and 64 random bits."""
    return f".denoisetool-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.part"


@functools.cache
def _host() -> str:
    """Where process numbers mean something: the host's name and a mark of its process space.

    Containers may share a host's name and a folder, but not the host's processes.
    """
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    name = socket.gethostname()
    mark = hashlib.blake2b(f"{name}\n{space}".encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:24]}-{mark}"


def _is_dead(status: os.stat_result, host: str, pid: int) -> bool:
    """Whether an unfinished file has no writer any more.

    Its age is that of the last change to the inode, which copied times cannot set back.
    """
    if time.time() - status.st_ctime > STALE_SECONDS:
        return True
    return host == _host() and not _is_running(pid)


if sys.platform == "win32":

    def _is_running(pid: int) -> bool:
        """Whether a process of this number runs; `os.kill(pid, 0)` would end it on Windows."""
        import ctypes

        query_limited_information, still_active = 0x1000, 259
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if not handle:
            access_denied = 5
            return bool(kernel.GetLastError() == access_denied)
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return not known or code.value == still_active

else:

    def _is_running(pid: int) -> bool:
        """Whether a process of this number runs."""
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True
        return True


def _check_place(target: Path, *, overwrite: bool) -> None:
    """Refuse before the work what would be refused after it."""
    try:
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise OutputError("there is a folder of that name", path=target, hint=_ELSEWHERE)
    if stat.S_ISLNK(mode):  # /dev/stdout is one
        with contextlib.suppress(OSError):
            mode = target.stat().st_mode
    if not any(is_kind(mode) for is_kind in (stat.S_ISREG, stat.S_ISLNK, stat.S_ISDIR)):
        raise OutputError("this is a device or pipe, not a file", path=target, hint=_ELSEWHERE)
    if not overwrite:
        raise _exists(target)


def _put(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its name."""
    if overwrite:
        _replace(temporary, target)
    elif os.name == "nt":
        temporary.rename(target)  # never replaces on Windows
    else:
        _put_new(temporary, target)


def _put_new(temporary: Path, target: Path) -> None:
    """Give a finished file a name that must not be in use. Raises FileExistsError if it is."""
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        temporary.unlink()
        return
    os.close(os.open(target, _CREATE_FLAGS, 0o666))
    try:
        temporary.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _replace(temporary: Path, target: Path) -> None:
    """Rename over whatever is there; on Windows wait a moment for a scanner to let go of it."""
    for _ in range(_RETRIES if os.name == "nt" else 0):
        with contextlib.suppress(PermissionError):
            temporary.replace(target)
            return
        time.sleep(0.1)
    temporary.replace(target)


def _sync(descriptor: int) -> None:
    """Have the disk hold it; file systems that know no such thing are taken as they are."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS):
            raise


def _sync_folder(folder: Path) -> None:
    """Have the disk hold a rename. Windows and some network shares offer no way: then nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def errors_told(target: Path) -> Iterator[None]:
    """Turn what the system says about the target into an error of ours."""
    try:
        yield
    except OSError as error:
        raise _output_error(error, target) from error


@contextmanager
def _full_disk_told(target: Path) -> Iterator[None]:
    """Turn a full disk, or one that fails, into an error of ours.

    Other errors in the block may be about reading, and those are told where it is done. Encoders
    written in C lose the number of the error: then the free space tells.
    """
    try:
        yield
    except OSError as error:
        lost = error.errno is None
        if error.errno in _FULL | _DISK_GONE or (lost and free_bytes(target) < _ALMOST_NOTHING):
            raise _output_error(error, target) from error
        raise


def _exists(target: Path) -> OutputExists:
    """The refusal to replace a file."""
    return OutputExists(
        "the output exists already", path=target, hint="--overwrite replaces it, -o goes elsewhere"
    )


def _output_error(error: OSError, target: Path) -> DenoiseError:
    """The reason a target cannot be written, in the user's words."""
    code = error.errno
    if isinstance(error, FileExistsError) and not _parent_blocked(target):
        return _exists(target)
    if code == errno.EDQUOT:
        return DiskFull("your disk quota is used up", path=target, hint=_ELSEWHERE)
    if code == errno.EFBIG:
        return OutputError("the file is too large for this disk", path=target, hint=_ELSEWHERE)
    if code == errno.ENOSPC or code is None:
        hint = "free some space and run again: what is done is not done twice"
        return DiskFull("the disk is full", path=target, hint=hint)
    if code == errno.EROFS:
        return OutputError("the disk is read-only", path=target, hint=_ELSEWHERE)
    if code in (errno.EACCES, errno.EPERM):
        return OutputError("no permission to write here", path=target, hint=_ELSEWHERE)
    if code == errno.ENAMETOOLONG:
        hint = "shorten it with --name, or the folders with -o"
        return OutputError("the name is too long for this disk", path=target, hint=hint)
    if code in (errno.ENOTDIR, errno.EEXIST):
        return OutputError("a file is in the way of its folder", path=target, hint=_ELSEWHERE)
    if code == errno.EISDIR:
        return OutputError("there is a folder of that name", path=target, hint=_ELSEWHERE)
    return OutputError(f"cannot be written: {error.strerror or error}", path=target)


def _parent_blocked(target: Path) -> bool:
    """Whether something that is no folder stands where the target's folder should be."""
    return not is_folder(target.parent)
