"""Services: what is written can be read by the system it is for."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from denoisetool.errors import OutputError, UsageError
from denoisetool.watch import service
from tests.conftest import Cli

COMMAND = ["/usr/bin/python3", "-m", "denoisetool", "watch", 'in "box" %h $HOME', "-o", "a\\b ä"]
OURS = {"DENOISETOOL_HOME": "/some where $1 %h", "PATH": "/bin", "DENOISETOOL_STRENGTH": "0.5"}


def made(system: str, folder: str = "/photos/in box") -> service.Service:
    return service.describe(Path(folder), COMMAND, system=system, environment=OURS)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    found = made("systemd")
    assert 'ExecStart="/usr/bin/python3" "-m" "denoisetool" "watch"' in found.text
    assert '"in \\"box\\" %%h $$HOME" "-o" "a\\\\b ä"' in found.text
    assert 'Environment="DENOISETOOL_HOME=/some where $1 %%h"' in found.text
    assert "PATH" not in found.text
    assert "KillMode=mixed" in found.text
    assert found.path.suffix == ".service"
    if shutil.which("systemd-analyze") is None:
        return
    unit = tmp_path / found.path.name
    unit.write_text(found.text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit], capture_output=True, text=True
    )
    complaints = [line for line in ran.stderr.splitlines() if unit.name in line]
    assert not complaints


def test_launchd_takes_the_plist() -> None:
    content = plistlib.loads(made("launchd").text.encode())
    assert content["ProgramArguments"] == COMMAND
    assert content["EnvironmentVariables"]["DENOISETOOL_STRENGTH"] == "0.5"
    assert content["KeepAlive"] is True


def test_windows_takes_the_task() -> None:
    found = made("windows")
    text = found.text.partition("\n")[2]
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    action = ET.fromstring(text).find("t:Actions/t:Exec", space)
    assert action is not None
    arguments = action.findtext("t:Arguments", namespaces=space) or ""
    assert 'set "DENOISETOOL_HOME=/some where $1 %h"' in arguments
    assert '"in \\"box\\" %h $HOME"' in arguments
    assert found.encoding == "utf-16"


def test_two_folders_have_two_services() -> None:
    assert made("systemd", "/a/inbox").path != made("systemd", "/b/inbox").path
    assert made("systemd", "/a/inbox").path == made("systemd", "/a/inbox").path


def test_no_line_of_a_unit_can_be_smuggled_in() -> None:
    with pytest.raises(UsageError, match="line feed"):
        service.describe(Path("/a"), ["x", "y\nExecStart=evil"], system="systemd", environment={})
    with pytest.raises(UsageError, match="no service"):
        service.describe(Path("/a"), ["x"], system="plan9", environment={})


def test_install_and_uninstall(tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = tmp_path / "units" / "x.service"
    note = ("sh", "-c", f"echo on >> {log}")
    found = service.Service(path, "text", (note,), (("sh", "-c", f"echo off >> {log}"),), ())
    service.install(found)
    assert path.read_text() == "text"
    assert service.uninstall(found)
    assert not path.exists()
    assert log.read_text() == "on\noff\n"
    assert not service.uninstall(found)


@pytest.mark.parametrize("command", [("sh", "-c", "echo no such bus >&2; exit 1"), ("/nowhere",)])
def test_a_system_that_refuses(command: tuple[str, ...], tmp_path: Path) -> None:
    found = service.Service(tmp_path / "x.service", "text", (command,), (), ())
    with pytest.raises(OutputError, match="by hand"):
        service.install(found)


def test_print_shows_it_and_changes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "platform", "linux")
    ran = cli(
        "watch", tmp_path / "in box", "-o", "out", "--strength", "0.5", "--install-service",
        "--print",
    )  # fmt: skip
    assert ran.code == 0
    assert f'"watch" "{tmp_path}/in box" "-o" "out" "--strength" "0.5"' in ran.out
    assert "--install-service" not in ran.out
    assert "systemctl --user enable" in ran.out
    assert not (tmp_path / "config").exists()
    gone = cli("watch", tmp_path / "in box", "--uninstall-service")
    assert gone.code == 0
    assert "no service" in gone.err
