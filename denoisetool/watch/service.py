"""Having the system run a watch for good: a systemd user unit, a launchd agent, a Windows task."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from denoisetool.errors import OutputError, UsageError
from denoisetool.files import atomic_write
from denoisetool.settings import PREFIX

SYSTEMS = {"linux": "systemd", "darwin": "launchd", "win32": "windows"}


@dataclass(frozen=True, slots=True)
class Service:
    """A service as files and commands.

    Attributes:
        path: its file; text: what is in it.
        on, off: commands that begin it now and at every start, and that end it.
        look: the command that shows how it runs.
        encoding: of the file.
    """

    path: Path
    text: str
    on: tuple[tuple[str, ...], ...]
    off: tuple[tuple[str, ...], ...]
    look: tuple[str, ...]
    encoding: str = "utf-8"


def describe(
    folder: Path, command: Sequence[str], *, system: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Service:  # fmt: skip
    """The service that runs a watch.

    Args:
        folder: what is watched; the service's name comes from it.
        command: program and arguments; relative paths count from the current folder.
        system: `systemd`, `launchd` or `windows`; this system's by default.
        environment: our own variables in it are kept; this process's by default.

    Raises:
        UsageError: a system that none of the three is for.
    """
    system = system or SYSTEMS.get(sys.platform, "")
    environment = os.environ if environment is None else environment
    ours = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
    mark = hashlib.blake2b(os.fsencode(os.path.realpath(folder)), digest_size=4).hexdigest()
    plain = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-").lower() or "folder"
    name = f"denoisetool-watch-{plain[:40]}-{mark}"
    makers = {"systemd": _systemd, "launchd": _launchd, "windows": _windows}
    if system not in makers:
        what = f"no service can be written for {sys.platform}"
        raise UsageError(what, hint="have your system run the same command without this option")
    return makers[system](name, folder, list(command), ours, Path.cwd())


def install(service: Service) -> None:
    """Write a service's file and begin it.

    Raises:
        OutputError: the file cannot be written, or the system refuses; says what to run by hand.
    """
    with atomic_write(service.path, overwrite=True) as out:
        out.write(service.text.encode(service.encoding))
    _run(service.on, service)


def uninstall(service: Service) -> bool:
    """End a service and remove its file; whether there was one."""
    if not service.path.exists():
        return False
    _run(service.off, service)
    service.path.unlink(missing_ok=True)
    return True


def _run(commands: Sequence[Sequence[str]], service: Service) -> None:
    for words in commands:
        by_hand = "run it by hand: " + " ".join(words)
        if shutil.which(words[0]) is None:
            raise OutputError(f"{words[0]} is not here", path=service.path, hint=by_hand)
        ran = subprocess.run(list(words), capture_output=True, text=True, check=False)
        if ran.returncode:
            said = " ".join((ran.stderr or ran.stdout).split())[:300]
            what = f"{words[0]} refused: {said or f'code {ran.returncode}'}"
            raise OutputError(what, path=service.path, hint=by_hand)


def _systemd(
    name: str, folder: Path, command: list[str], variables: Mapping[str, str], here: Path
) -> Service:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    unit = f"{name}.service"
    lines = [
        "[Unit]",
        f"Description=denoisetool watch {_plain(str(folder))}",
        "",
        "[Service]",
        f"ExecStart={' '.join(_unit_word(word.replace('$', '$$')) for word in command)}",
        f"WorkingDirectory={_plain(str(here))}",
        *(f"Environment={_unit_word(f'{key}={value}')}" for key, value in variables.items()),
        "Restart=always",
        "RestartSec=10",
        "# Codes that a new start does not mend: usage, model, device.",
        "RestartPreventExitStatus=2 4 5",
        "# The watch alone is told to end: it lets its worker finish the photo in hand.",
        "KillMode=mixed",
        "TimeoutStopSec=15min",
        "SuccessExitStatus=143",
        "Nice=10",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    systemctl = ("systemctl", "--user")
    return Service(
        home / "systemd" / "user" / unit, "\n".join(lines) + "\n",
        on=((*systemctl, "daemon-reload"), (*systemctl, "enable", unit),
            (*systemctl, "restart", unit)),
        off=((*systemctl, "disable", "--now", unit),),
        look=("journalctl", "--user", "-u", unit, "-f"),
    )  # fmt: skip


def _launchd(
    name: str,
    folder: Path,  # noqa: ARG001 - launchd takes no description
    command: list[str],
    variables: Mapping[str, str],
    here: Path,
) -> Service:
    import plistlib

    log = Path.home() / "Library" / "Logs" / f"{name}.log"
    content = {
        "Label": name, "ProgramArguments": command, "WorkingDirectory": str(here),
        "EnvironmentVariables": dict(variables), "RunAtLoad": True, "KeepAlive": True,
        "ThrottleInterval": 10, "ExitTimeOut": 900, "ProcessType": "Background",
        "StandardErrorPath": str(log), "StandardOutPath": str(log),
    }  # fmt: skip
    path = Path.home() / "Library" / "LaunchAgents" / f"{name}.plist"
    return Service(
        path, plistlib.dumps(content).decode(),
        on=(("launchctl", "load", "-w", str(path)),),
        off=(("launchctl", "unload", "-w", str(path)),),
        look=("tail", "-f", str(log)),
    )  # fmt: skip


def _windows(
    name: str, folder: Path, command: list[str], variables: Mapping[str, str], here: Path
) -> Service:
    set_first = "".join(f'set "{key}={value}" && ' for key, value in variables.items())
    program, words = command[0], subprocess.list2cmdline(command[1:])
    if set_first:
        words = f'/d /s /c "{set_first}{subprocess.list2cmdline(command)}"'
        program = "cmd.exe"
    text = f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{escape(f"denoisetool watch {folder}")}</Description>
  </RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>255</Count></RestartOnFailure>
  </Settings>
  <Actions>
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>{escape(words)}</Arguments>
      <WorkingDirectory>{escape(str(here))}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""
    home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    path = home / "denoisetool" / f"{name}.xml"
    task = ("schtasks", "/TN", name)
    return Service(
        path, text,
        on=(("schtasks", "/Create", "/F", "/TN", name, "/XML", str(path)), (*_verb(task, "/Run"),)),
        off=((*_verb(task, "/End"),), (*_verb(task, "/Delete"), "/F")),
        look=("schtasks", "/Query", "/TN", name, "/V"), encoding="utf-16",
    )  # fmt: skip


def _verb(task: tuple[str, ...], verb: str) -> tuple[str, ...]:
    return (task[0], verb, *task[1:])


def _unit_word(word: str) -> str:
    """A word of a unit: quoted. A `$` in it is only special to systemd in a command line."""
    word = _plain(word.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{word}"'


def _plain(text: str) -> str:
    """Text in a unit file; it must stay on its line. Raises UsageError."""
    if "\n" in text:
        raise UsageError(f"a line feed in {text!r} cannot be written into a unit file")
    return text.replace("%", "%%")
