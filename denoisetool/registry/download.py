"""Fetch one file over http(s), continuing where a broken connection left off.

What has arrived lies in `<key>.part` with `<key>.json` beside it (address and validators), so that
the next attempt, in this process or a later one, asks for the rest only. A server that ignores the
request for a range, or whose file has changed meanwhile, makes it start again from the beginning.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from denoisetool.errors import ModelError
from denoisetool.registry import disk
from denoisetool.registry.check import sha256_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and the bytes expected, if the server told."""

ATTEMPTS = 5
TIMEOUT = 30.0
MAX_BYTES = 4 << 30
_CHUNK = 1 << 16
_FIRST_PAUSE = 0.5
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class _BrokenError(Exception):
    """This attempt failed in a way that another may not."""


@dataclass(slots=True)
class Part:
    """What has arrived of one address; `path` is the whole file once `fetch` has returned."""

    folder: Path
    url: str
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        key = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.path = self.folder / f"{key}.part"

    @property
    def lock(self) -> Path:
        """File that whoever works on this download holds locked."""
        return self.path.with_suffix(".lock")

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """What tells that the file on the server is still the same: strong ETag or date."""
        try:
            known = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
            return known["validator"] if known["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, validator: str | None) -> None:
        """Start from nothing."""
        self.discard()
        self.folder.mkdir(parents=True, exist_ok=True)
        note = json.dumps({"url": self.url, "validator": validator})
        self.path.with_suffix(".json").write_text(note, encoding="utf-8")

    def discard(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".json").unlink(missing_ok=True)


def fetch(part: Part, *, sha256: str | None = None, progress: Progress | None = None) -> None:
    """Download `part.url` to `part.path`. The caller holds `part.lock`.

    Args:
        part: where to, and what is there already; it is kept when the download breaks off.
        sha256: hex digest the file must have.
        progress: told after every block.

    Raises:
        ModelError: refused by the server, broken off too often, or not the promised content.
        OutputError: the download folder cannot be written.
    """
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            continued = _receive(part, sha256 is not None, progress)
        except _BrokenError as error:
            problem = str(error)
            continue
        if sha256 is None or sha256_of(part.path) == sha256:
            return
        part.discard()
        if not continued:
            what = f"{part.url} is not the promised file: its sha256 is not {sha256}"
            raise ModelError(what, hint="check the address and the checksum")
        problem = "the parts did not fit together"
    raise ModelError(
        f"{part.url} cannot be downloaded: {problem} ({ATTEMPTS} attempts)",
        hint=f"try again later: {part.size / 1e6:.1f} MB are here already" if part.size else "",
    )


def published_digest(url: str) -> str | None:
    """The sha256 in the file `URL.sha256` beside a pack; None if there is no such file.

    Raises:
        ModelError: unreachable, or a file that holds no digest.
    """
    parts = urlsplit(url)
    beside = parts._replace(path=parts.path + ".sha256").geturl()
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            with _open(beside, {}) as response:
                text = response.read(4096).decode("ascii", "replace")
        except ModelError:
            return None  # not there, or not for us
        except (_BrokenError, OSError, http.client.HTTPException) as error:
            problem = str(error)
            continue
        found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
        return found[1].lower() if found else None
    raise ModelError(f"{beside} cannot be reached: {problem}", hint="try again later, or --offline")


def _receive(part: Part, known_digest: bool, progress: Progress | None) -> bool:
    """One connection: append what comes to the part, until it is whole.

    Returns:
        Whether it continued an earlier part.

    Raises:
        _BrokenError: worth another attempt. ModelError: not. OutputError: the disk.
    """
    start, validator = part.size, part.validator
    headers = {"Accept-Encoding": "identity"}
    if start and (validator or known_digest):
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    try:
        with _open(part.url, headers) as response:
            if response.status == 416:  # nothing after what is here: it may be whole
                if response.headers.get("Content-Range") == f"bytes */{start}":
                    return True
                part.discard()
                raise _BrokenError("the file on the server has changed")
            if response.status not in (200, 206 if "Range" in headers else 200):
                raise ModelError(f"{part.url}: the server answers {response.status}")
            continued = response.status == 206
            theirs = _validator(response)
            if continued and not _continues(response, start, validator, theirs):
                part.discard()
                raise _BrokenError("the file on the server has changed")
            if not continued:
                start = 0
                with disk.writing(part.folder):
                    part.begin(theirs)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            if (total or 0) > MAX_BYTES:
                raise ModelError(f"{part.url} is too large for a model ({total} bytes)")
            _append(response, part, start, total, progress)
            return continued
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(f"{type(error).__name__}: {error}") from error


def _append(
    response: IO[bytes], part: Part, start: int, total: int | None, progress: Progress | None
) -> None:
    received = start
    with part.path.open("ab", buffering=0) as out:
        while chunk := response.read(_CHUNK):
            with disk.writing(part.folder):
                disk.write_all(out, chunk)
            received += len(chunk)
            if received > MAX_BYTES:
                raise ModelError(f"{part.url} is too large for a model")
            if progress is not None:
                progress(received, total)
    if total is not None and received != total:
        raise _BrokenError(f"the connection closed after {received} of {total} bytes")


def _validator(response: http.client.HTTPResponse) -> str | None:
    """A strong ETag, else the date of the last change (RFC 9110, 13.1.5)."""
    etag: str | None = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _continues(
    response: http.client.HTTPResponse, start: int, validator: str | None, theirs: str | None
) -> bool:
    """Whether a partial answer begins where we stopped, in the same version of the file."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return begins and (validator is None or theirs is None or theirs == validator)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Open an address. Status 416 is returned, not raised.

    Raises:
        ModelError: the server says no for good. _BrokenError: another attempt may succeed.
        OSError, HTTPException: the network.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "denoisetool"} | headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error  # type: ignore[return-value]
        error.close()
        if error.code in _TRY_AGAIN:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from error
        what = f"{url}: the server answers {error.code} {error.reason}"
        raise ModelError(what, hint="check the address") from error
    except urllib.error.URLError as error:
        raise _BrokenError(str(error.reason)) from error
    except ValueError as error:  # also http.client.InvalidURL
        raise ModelError(f"{url!r} is not an address: {error}") from error
    protected = url.lower().startswith("https:")
    if not response.url.startswith(("https:",) if protected else ("https:", "http:")):
        response.close()
        raise ModelError(f"{url} leads to an unprotected address")
    opened: http.client.HTTPResponse = response
    return opened
