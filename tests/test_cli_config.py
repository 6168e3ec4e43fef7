from __future__ import annotations

from pathlib import Path

import pytest

from denoisetool.settings import SETTINGS
from tests.conftest import Cli


@pytest.fixture
def config(home: Path) -> Path:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_show_tells_value_and_origin(
    cli: Cli, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("strength = 0.5\ntile = 256\n")
    monkeypatch.setenv("DENOISETOOL_TILE", "512")
    rows = {line.split()[0]: line.split()[1:3] for line in cli("config", "show").out.splitlines()}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["strength"] == ["0.5", "file"]
    assert rows["tile"] == ["512", "environment"]
    assert rows["jobs"] == ["auto", "default"]
    assert rows["color_lock"] == ["true", "default"]
    events = {e["name"]: e for e in cli("config", "show", "--json").events}
    assert set(events["tile"]) == {
        *("v", "event", "name", "value", "origin", "variable", "help"),
    }
    assert (events["tile"]["value"], events["tile"]["origin"]) == (512, "environment")
    assert events["jobs"]["value"] is None
    assert events["color_lock"]["value"] is True


def test_show_tells_of_variables_that_mean_nothing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENOISETOOL_STRENGHT", "1")
    assert "DENOISETOOL_STRENGHT is set, but there is no setting" in cli("config", "show").err


def test_set_makes_the_file_and_keeps_comments(cli: Cli, home: Path) -> None:
    path = home / "config" / "config.toml"
    assert cli("config", "path").out == f"{path}\n"
    assert not home.exists()
    ran = cli("config", "set", "strength", "0.8")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"strength is 0.8 from now on, in {path}\n"
    path.write_text("# mine\nstrength = 0.8  # gentle\n\n# large ones\nmax_megapixels = 50.0\n")
    assert cli("config", "set", "strength", "1.5").code == 0
    assert cli("config", "set", "low-priority", "yes").code == 0
    assert path.read_text() == (
        "# mine\nstrength = 1.5  # gentle\n\n# large ones\nmax_megapixels = 50.0\n"
        "low_priority = true\n"
    )
    assert cli("config", "unset", "strength").code == 0
    assert cli("config", "unset", "low-priority").code == 0
    assert "# mine" in path.read_text()
    assert "strength" not in path.read_text()


def test_auto_is_the_default_again(cli: Cli, config: Path) -> None:
    assert cli("config", "set", "tile", "256").code == 0
    assert cli("config", "set", "tile", "auto").code == 0
    assert "tile" not in config.read_text()


def test_both_spellings_are_one_setting(cli: Cli, config: Path) -> None:
    config.write_text("low-priority = true\n")
    assert cli("config", "set", "low_priority", "no").code == 0
    assert config.read_text() == "low_priority = false\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "strength", "9"], "strength must be from 0 to 2, not 9"),
        (["set", "strenght", "1"], "did you mean strength?"),
        (["set", "model", ""], "needs a value"),
        (["unset", "strenght"], "did you mean strength?"),
    ],
)
def test_bad_names_and_values(words: list[str], message: str, cli: Cli, home: Path) -> None:
    ran = cli("config", *words)
    assert ran.code == 2
    assert message in ran.err
    assert not home.exists()


def test_a_bad_file_can_be_mended(cli: Cli, config: Path) -> None:
    config.write_text("strength = 9\nold_key = 1\n")
    ran = cli("config", "show")
    assert ran.code == 2
    assert f"{config}: strength must be from 0 to 2, not 9" in ran.err
    assert "`denoisetool config set strength VALUE`" in ran.err
    assert cli("config", "set", "strength", "1").code == 0
    assert "there is no setting 'old_key'" in cli("config", "show").err
    assert cli("config", "unset", "old_key").code == 0
    assert cli("config", "show").code == 0


def test_a_file_that_is_no_toml_is_left_alone(cli: Cli, config: Path) -> None:
    for data in (b"strength = = 1", b"\xff\xff"):
        config.write_bytes(data)
        for words in (["set", "strength", "1"], ["unset", "strength"], ["show"]):
            ran = cli("config", *words)
            assert ran.code == 2
            assert str(config) in ran.err
            assert "correct it, or remove it" in ran.err
        assert config.read_bytes() == data


def test_a_link_to_the_file_stays_one(cli: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("strength = 1.0\n")
    config.symlink_to(tmp_path / "dotfiles.toml")
    assert cli("config", "set", "strength", "0.5").code == 0
    assert config.is_symlink()
    assert (tmp_path / "dotfiles.toml").read_text() == "strength = 0.5\n"


def test_an_environment_that_wins_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENOISETOOL_STRENGTH", "1")
    assert "wins over the file" in cli("config", "set", "strength", "0.5").err


def test_a_config_folder_that_cannot_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENOISETOOL_HOME", "/proc/denoisetool")
    ran = cli("config", "set", "strength", "0.5")
    assert ran.code == 6
    assert "/proc/denoisetool" in ran.err
