"""What is written where, so that the file manager offers the window for photos."""

from __future__ import annotations

import base64
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from denoisetool.errors import OutputError, UsageError

NAME = "Denoisetool"
MIME_TYPES = ("image/jpeg", "image/png", "image/tiff", "image/webp", "image/avif", "image/bmp")
"""Of the formats that are read; a test holds them together."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry in a desktop's menus.

    Attributes:
        what: in words, for people.
        command: what it starts, with photos after it.
        files: each path with what makes its content, which may raise OutputError.
        refresh: commands that have the desktop look again; one that is not there is no matter.
        caches: files that those commands may make.
    """

    what: str
    command: tuple[str, ...]
    files: tuple[tuple[Path, Callable[[], bytes]], ...]
    refresh: tuple[tuple[str, ...], ...] = ()
    caches: tuple[Path, ...] = ()


def describe(command: Sequence[str], platform: str = sys.platform) -> Entry:
    """The entry that starts `command`, followed by photos, on this system.

    Raises:
        UsageError: a system that has none.
    """
    makers = {"linux": _linux, "win32": _windows, "darwin": _macos}
    if platform not in makers:
        raise UsageError(
            f"there is no desktop entry for {platform}",
            hint=f"have your file manager start {shlex.join(command)}",
        )
    return makers[platform](list(command))


# -- Linux: the freedesktop.org Desktop Entry Specification ----------------------------------------


def _linux(command: list[str]) -> Entry:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    applications, icons = data / "applications", data / "icons" / "hicolor"
    text = "\n".join(
        [
            "[Desktop Entry]",
            "Type=Application",
            f"Name={NAME}",
            "GenericName=Photo Noise Reduction",
            "Comment=Take the noise out of photographs",
            f"Exec={' '.join(_exec_word(word) for word in command)} %F",
            "Icon=denoisetool",
            "Terminal=false",
            "Categories=Graphics;Photography;",
            f"MimeType={';'.join(MIME_TYPES)};",
            f"StartupWMClass={NAME}",
        ]
    )
    return Entry(
        "an application for photos", tuple(command),
        (
            (applications / "denoisetool.desktop", lambda: text.encode() + b"\n"),
            (icons / "256x256" / "apps" / "denoisetool.png", _icon),
        ),
        (
            ("update-desktop-database", str(applications)),
            ("gtk-update-icon-cache", "-q", "-t", "-f", str(icons)),
        ),
        (applications / "mimeinfo.cache", icons / "icon-theme.cache"),
    )  # fmt: skip


def _exec_word(word: str) -> str:
    """A word of `Exec`: quoted, the quoting escaped once more, and no field code in it."""
    if not word.isprintable():
        raise UsageError(f"{word!r} cannot be written into a desktop entry", hint="move it")
    quoted = re.sub(r'(["`$\\])', r"\\\1", word).replace("\\", "\\\\").replace("%", "%%")
    return f'"{quoted}"'


def _icon() -> bytes:
    return resources.files("denoisetool").joinpath("icon.png").read_bytes()


# -- Windows: a shortcut in the "Send to" menu -----------------------------------------------------

_SHORTCUT = """
$ErrorActionPreference = 'Stop'
$link = (New-Object -ComObject WScript.Shell).CreateShortcut($env:DENOISETOOL_LINK)
$link.TargetPath = $env:DENOISETOOL_TARGET
$link.Arguments = $env:DENOISETOOL_ARGUMENTS
$link.IconLocation = $env:DENOISETOOL_TARGET + ',0'
$link.Description = 'Take the noise out of photographs'
$link.Save()
"""


def _windows(command: list[str]) -> Entry:
    roaming = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    path = roaming / "Microsoft" / "Windows" / "SendTo" / f"{NAME}.lnk"
    return Entry('an entry in "Send to"', tuple(command), ((path, lambda: _shortcut(command)),))


def _shortcut(command: list[str]) -> bytes:
    """A shortcut to a command, as Windows itself makes it; what is in its names runs nowhere."""
    shell = shutil.which("powershell") or shutil.which("pwsh")
    by_hand = f"put a shortcut to {command[0]} into the folder shell:sendto by hand"
    if shell is None:
        raise OutputError("a shortcut needs PowerShell, which is not here", hint=by_hand)
    with tempfile.TemporaryDirectory(prefix="denoisetool-") as folder:
        link = Path(folder) / f"{NAME}.lnk"
        ran = subprocess.run(
            [shell, "-NoProfile", "-NonInteractive", "-EncodedCommand",
             base64.b64encode(_SHORTCUT.encode("utf-16-le")).decode()],
            env={**os.environ, "DENOISETOOL_LINK": str(link), "DENOISETOOL_TARGET": command[0],
                 "DENOISETOOL_ARGUMENTS": subprocess.list2cmdline(command[1:])},
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if ran.returncode or not link.is_file():
            said = " ".join(ran.stderr.split())[:300]
            raise OutputError(f"PowerShell made no shortcut: {said}", hint=by_hand)
        return link.read_bytes()


# -- macOS: a Quick Action, which is a small Automator workflow ------------------------------------


def _macos(command: list[str]) -> Entry:
    folder = Path.home() / "Library" / "Services" / f"Denoise with {NAME}.workflow" / "Contents"
    return Entry(
        "a Quick Action for photos", tuple(command),
        (
            (folder / "Info.plist", lambda: plistlib.dumps(_service())),
            (folder / "document.wflow", lambda: plistlib.dumps(_workflow(command))),
        ),
        (("/System/Library/CoreServices/pbs", "-update"),),
    )  # fmt: skip


def _service() -> dict[str, object]:
    return {
        "CFBundleName": f"Denoise with {NAME}",
        "CFBundleIdentifier": "org.denoisetool.QuickAction",
        "NSServices": [
            {
                "NSMenuItem": {"default": f"Denoise with {NAME}"},
                "NSMessage": "runWorkflowAsService",
                "NSRequiredContext": {"NSApplicationIdentifier": "com.apple.finder"},
                "NSSendFileTypes": ["public.image", "public.folder"],
            }
        ],
    }


def _workflow(command: list[str]) -> dict[str, object]:
    """The workflow: one action that runs a shell command with the photos as its arguments."""
    text = "com.apple.cocoa.string"
    action = {
        "AMAccepts": {"Container": "List", "Optional": True, "Types": [text]},
        "AMActionVersion": "2.0.3",
        "AMApplication": ["Automator"],
        "AMParameterProperties": {
            key: {}
            for key in
            ("COMMAND_STRING", "CheckedForUserDefaultShell", "inputMethod", "shell", "source")
        },
        "AMProvides": {"Container": "List", "Types": [text]},
        "ActionBundlePath": "/System/Library/Automator/Run Shell Script.action",
        "ActionName": "Run Shell Script",
        "ActionParameters": {
            "COMMAND_STRING": f'{shlex.join(command)} "$@" >/dev/null 2>&1 &\n',
            "CheckedForUserDefaultShell": True,
            "inputMethod": 1,  # the files are arguments
            "shell": "/bin/sh",
            "source": "",
        },
        "BundleIdentifier": "com.apple.RunShellScript",
        "CFBundleVersion": "2.0.3",
        "Class Name": "RunShellScriptAction",
        "InputUUID": "3D1B6A52-5D0E-4E0B-9C5B-2C7A3E2F5A01",
        "OutputUUID": "8C4E1F77-94C2-4B36-A8D5-61F0B7D9E302",
        "UUID": "51A9D0C4-0B7F-4D68-B1E3-F7C29A6D8403",
        "isViewVisible": True,
    }  # fmt: skip
    return {
        "AMApplicationBuild": "523",
        "AMApplicationVersion": "2.10",
        "AMDocumentVersion": "2",
        "actions": [{"action": action, "isViewVisible": True}],
        "connectors": {},
        "workflowMetaData": {
            "serviceApplicationBundleID": "com.apple.finder",
            "serviceInputTypeIdentifier": "com.apple.Automator.fileSystemObject",
            "serviceOutputTypeIdentifier": "com.apple.Automator.nothing",
            "serviceProcessesInput": 0,
            "workflowTypeIdentifier": "com.apple.Automator.servicesMenu",
        },
    }
