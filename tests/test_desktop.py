"""The entry in the desktop's menus: what is written, and that nothing else is touched."""

import plistlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from denoisetool import desktop, formats, program
from denoisetool.desktop import entries
from denoisetool.errors import OutputError, OutputExists, UsageError
from tests.conftest import Cli

PROGRAM = "/opt/de noise/Denoisetool"


@pytest.fixture
def user(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, on whatever system."""
    place = tmp_path / "user"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("USERPROFILE", str(place))
    monkeypatch.setenv("APPDATA", str(place / "Roaming"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))
    return place


def files(place: Path) -> list[str]:
    return sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())


def exec_words(text: str) -> list[str]:
    """The words of `Exec`, as the specification has them read."""
    line = next(line for line in text.splitlines() if line.startswith("Exec="))
    unescaped = line.removeprefix("Exec=").replace("\\\\", "\0").replace("\0", "\\")
    words: list[str] = []
    word, quoted, escaped = "", False, False
    for c in unescaped:
        if escaped:
            word, escaped = word + c, False
        elif quoted and c == "\\":
            escaped = True
        elif c == '"':
            quoted = not quoted
        elif c == " " and not quoted:
            words, word = [*words, word], ""
        else:
            word += c
    return [w.replace("%%", "%") for w in (*words, word)]


def test_linux_has_an_application_and_its_icon(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    desktop.install(entry)
    data = ".local/share"
    assert files(user) == [
        f"{data}/applications/denoisetool.desktop",
        f"{data}/icons/hicolor/256x256/apps/denoisetool.png",
    ]
    text = (user / data / "applications" / "denoisetool.desktop").read_text(encoding="utf-8")
    assert text.startswith("[Desktop Entry]\n")
    assert exec_words(text) == [PROGRAM, "%F"]
    types = next(line for line in text.splitlines() if line.startswith("MimeType="))
    assert types.removeprefix("MimeType=").rstrip(";").split(";") == list(entries.MIME_TYPES)


def test_every_format_has_its_type() -> None:
    assert set(entries.MIME_TYPES) == {f"image/{each.name}" for each in formats.FORMATS}


@pytest.mark.parametrize("name", ['a "b"', "$HOME `x`", "back\\slash", "100 %F", "ümlaut"])
def test_any_place_can_be_in_exec(user: Path, name: str) -> None:
    command = [f"/opt/{name}/python", "-m", "denoisetool.launch"]
    text = dict(desktop.describe(command, "linux").files)
    content = next(make() for path, make in text.items() if path.suffix == ".desktop")
    assert exec_words(content.decode()) == [*command, "%F"]


def test_a_line_feed_cannot_smuggle_a_line_in(user: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        desktop.describe(["/opt/a\nExec=evil"], "linux")
    assert files(user) == []


def test_macos_has_a_quick_action(user: Path) -> None:
    desktop.install(desktop.describe([PROGRAM], "darwin"))
    contents = user / "Library/Services/Denoise with Denoisetool.workflow/Contents"
    assert files(contents) == ["Info.plist", "document.wflow"]
    service = plistlib.loads((contents / "Info.plist").read_bytes())["NSServices"][0]
    assert service["NSMessage"] == "runWorkflowAsService"
    assert "public.image" in service["NSSendFileTypes"]
    workflow = plistlib.loads((contents / "document.wflow").read_bytes())
    script = workflow["actions"][0]["action"]["ActionParameters"]
    assert script["inputMethod"] == 1
    assert script["COMMAND_STRING"].startswith(f"'{PROGRAM}' \"$@\"")


def test_the_quick_actions_script_starts_the_window_with_the_photos(
    user: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    stand_in = tmp_path / "it's a program"
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > "{said}.part"; mv "{said}.part" "{said}"'
    )
    stand_in.chmod(0o755)
    make = dict(desktop.describe([str(stand_in)], "darwin").files)
    workflow = next(plistlib.loads(m()) for p, m in make.items() if p.suffix == ".wflow")
    script = workflow["actions"][0]["action"]["ActionParameters"]["COMMAND_STRING"]
    path = "/usr/bin:/bin"
    words = ["/bin/sh", "-c", script + "wait", "sh", "/a b.jpg", "/$c.png"]
    subprocess.run(words, env={"PATH": path}, check=True)
    assert said.read_text().splitlines() == ["/a b.jpg", "/$c.png"]


@pytest.fixture
def powershell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PowerShell that writes what it was told into the shortcut."""
    folder = tmp_path / "windows"
    folder.mkdir()
    program = folder / "powershell"
    program.write_text(
        '#!/bin/sh\nprintf "%s|%s|%s" "$DENOISETOOL_TARGET" "$DENOISETOOL_ARGUMENTS" "$$"'
        ' > "$DENOISETOOL_LINK"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return program


def test_windows_has_a_shortcut_that_windows_makes(user: Path, powershell: Path) -> None:
    command = ["C:\\de noise\\pythonw.exe", "-m", "denoisetool.launch"]
    entry = desktop.describe(command, "win32")
    (path,) = desktop.install(entry)
    assert path.relative_to(user).as_posix() == ("Roaming/Microsoft/Windows/SendTo/Denoisetool.lnk")
    target, arguments, _ = path.read_text().split("|")
    assert (target, arguments) == (command[0], "-m denoisetool.launch")
    desktop.install(entry)  # another shortcut, no two of which are alike, in the same place
    assert [piece.state for piece in desktop.status(entry)] == ["installed"]
    desktop.remove(entry)
    assert files(user) == []


@pytest.mark.parametrize("refuses", [True, False])
def test_without_powershell_it_is_said_what_to_do(
    user: Path, powershell: Path, refuses: bool
) -> None:
    if refuses:
        powershell.write_text("#!/bin/sh\necho not allowed here >&2; exit 1\n")
    else:
        powershell.unlink()
    with pytest.raises(OutputError, match="by hand") as error:
        desktop.install(desktop.describe([PROGRAM], "win32"))
    assert ("not allowed here" in str(error.value)) == refuses
    assert files(user) == []


def test_a_system_without_entries() -> None:
    with pytest.raises(UsageError, match="file manager"):
        desktop.describe([PROGRAM], "plan9")


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_remove_leaves_nothing(user: Path, system: str) -> None:
    entry = desktop.describe([PROGRAM], system)
    assert desktop.remove(entry) == []
    desktop.install(entry)
    assert {piece.state for piece in desktop.status(entry)} == {"installed"}
    removed = desktop.remove(entry)
    assert [piece.path for piece in removed] == [path for path, _ in entry.files]
    assert list(user.iterdir()) == []
    assert {piece.state for piece in desktop.status(entry)} == {"none"}


def test_what_others_have_stays(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    applications = user / ".local" / "share" / "applications"
    applications.mkdir(parents=True)
    (applications / "other.desktop").write_text("x")
    desktop.install(entry)
    desktop.remove(entry)
    assert files(user) == [".local/share/applications/other.desktop"]
    assert not (user / ".local" / "share" / "icons").exists()


def test_a_foreign_file_is_never_replaced(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    icon = entry.files[1][0]
    icon.parent.mkdir(parents=True)
    icon.write_text("somebody's")
    with pytest.raises(OutputExists, match="did not write"):
        desktop.install(entry)
    assert icon.read_text() == "somebody's"
    assert files(user) == [icon.relative_to(user).as_posix()], "nothing else was written"
    assert desktop.remove(entry) == []
    assert icon.exists()
    assert [piece.state for piece in desktop.status(entry)] == ["none", "foreign"]


def test_a_link_in_the_way_is_not_followed(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    path, precious = entry.files[0][0], user / "precious"
    precious.write_text("x")
    path.parent.mkdir(parents=True)
    path.symlink_to(precious)
    with pytest.raises(OutputExists):
        desktop.install(entry)
    assert precious.read_text() == "x"


def test_what_was_changed_since_is_left(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    path = desktop.install(entry)[0]
    path.write_text("changed")
    assert desktop.status(entry)[0].state == "changed"
    with pytest.raises(OutputExists):
        desktop.install(entry)
    assert [piece.state for piece in desktop.remove(entry)] == ["changed", "installed"]
    assert path.read_text() == "changed"
    assert desktop.remove(entry) == []


def test_a_moved_program_is_told_and_mended(user: Path) -> None:
    desktop.install(desktop.describe(["/old/Denoisetool"], "linux"))
    moved = desktop.describe(["/new/Denoisetool"], "linux")
    assert {piece.state for piece in desktop.status(moved)} == {"outdated"}
    desktop.install(moved)
    assert {piece.state for piece in desktop.status(moved)} == {"installed"}
    assert "/new/" in moved.files[0][0].read_text()


def test_a_kill_between_the_files_is_mended(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    path, make = entry.files[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(make())  # written, and the list lost
    desktop.install(entry)
    desktop.remove(entry)
    assert files(user) == []


def test_a_damaged_list_is_told(user: Path, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "desktop.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        desktop.install(desktop.describe([PROGRAM], "linux"))
    assert files(user) == []


def test_the_desktop_is_told_to_look_again(user: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    entry = desktop.describe([PROGRAM], "linux")
    refresh: Sequence[tuple[str, ...]] = (("/bin/sh", "-c", f"echo x >> {told}"),)
    entry = replace(entry, refresh=tuple(refresh))
    desktop.remove(entry)
    assert not told.exists()
    desktop.install(entry)
    desktop.remove(entry)
    assert told.read_text() == "x\nx\n"


def test_the_desktops_caches_go_with_the_folders_that_were_made_for_it(user: Path) -> None:
    entry = desktop.describe([PROGRAM], "linux")
    desktop.install(entry)
    for cache in entry.caches:
        cache.touch()
    desktop.remove(entry)
    assert list(user.iterdir()) == []
    entry.caches[0].parent.mkdir(parents=True)
    entry.caches[0].touch()  # the user's own
    desktop.install(entry)
    desktop.remove(entry)
    assert files(user) == [".local/share/applications/mimeinfo.cache"]


def test_the_command(user: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(desktop.describe, "__defaults__", ("linux",))
    assert cli("desktop", "status").code == 1
    ran = cli("desktop", "install")
    assert ran.code == 0
    assert ran.err.count("wrote ") == 2
    text = (user / ".local/share/applications/denoisetool.desktop").read_text()
    assert exec_words(text) == [*program.window(), "%F"]
    shown = cli("desktop", "status", "--json")
    assert shown.code == 0
    assert [each["state"] for each in shown.of("desktop")] == ["installed", "installed"]
    assert cli("desktop", "remove").err.count("removed ") == 2
    assert "nothing is installed" in cli("desktop", "remove").err
    assert sys.executable in program.window()[0]


def test_a_bundle_without_the_window_has_nothing_to_install(
    user: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / program.CONSOLE))
    monkeypatch.setattr(desktop.describe, "__defaults__", ("linux",))
    ran = cli("desktop", "install")
    assert ran.code == 2
    assert "without the window" in ran.err
    assert files(user) == []
