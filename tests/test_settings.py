from __future__ import annotations

import os
from pathlib import Path

import pytest

from denoisetool import settings
from denoisetool.errors import UsageError
from denoisetool.settings import SETTINGS, Setting, Value, read_file, resolve

TEXTS: dict[str, tuple[str, str, str]] = {
    "model": ("one", "two", "three"),
    "camera_models": ("no", "true", "off"),
    "device": ("cpu", "cuda", "mps"),
    "precision": ("fp32", "bf16", "fp16"),
    "scale": ("2", "4", "1"),
    "strength": ("0.25", "0.5", "2"),
    "luma": ("0.25", "0.5", "0"),
    "chroma": ("0.25", "0.5", "0"),
    "color_lock": ("no", "true", "off"),
    "tile": ("128", "256", "512"),
    "jobs": ("1", "2", "3"),
    "format": ("png", "jpeg", "tiff"),
    "quality": ("1", "50", "100"),
    "name": ("{stem}_a", "{stem}_b", "{stem}_c"),
    "strip": ("true", "false", "on"),
    "low_priority": ("true", "false", "on"),
    "max_megapixels": ("10", "20", "0.5"),
    "offline": ("true", "false", "on"),
}
"""For every setting a value for flag, environment and file."""


def toml(setting: Setting, text: str) -> str:
    value = setting.parse(text)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def test_every_setting_is_tested() -> None:
    assert list(TEXTS) == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_flag_over_environment_over_file_over_default(setting: Setting, tmp_path: Path) -> None:
    flag, variable, file = TEXTS[setting.name]
    path = tmp_path / "config.toml"
    flags: dict[str, Value] = {setting.name: flag}
    environment = {setting.variable: variable}

    def found(flags: dict[str, Value], environment: dict[str, str]) -> tuple[object, str]:
        resolved = resolve(flags, environment, path)
        others = [o for name, o in resolved.origins.items() if name != setting.name]
        assert set(others) == {"default"}
        return getattr(resolved.settings, setting.name), resolved.origins[setting.name]

    assert found({}, {}) == (setting.default, "default")
    path.write_text(f"{setting.name} = {toml(setting, file)}\n")
    assert found({}, {}) == (setting.parse(file), "file")
    assert found({}, environment) == (setting.parse(variable), "environment")
    assert found(flags, environment) == (setting.parse(flag), "flag")
    assert found({setting.name: None}, {setting.variable: ""}) == (setting.parse(file), "file")


BAD: list[tuple[str, str, str]] = [
    ("device", "gpu", "must be one of auto, cpu, cuda, mps, xpu, not 'gpu'"),
    ("scale", "3", "must be one of 1, 2, 4, not 3"),
    ("scale", "2.5", "must be a whole number, not '2.5'"),
    ("strength", "3", "must be from 0 to 2, not 3"),
    ("strength", "nan", "must be from 0 to 2, not nan"),
    ("strength", "much", "must be a number, not 'much'"),
    ("tile", "12.5", "must be a whole number, not '12.5'"),
    ("tile", "1", "must be from 64 to 16384, not 1"),
    ("color_lock", "maybe", "must be true or false, not 'maybe'"),
    ("quality", "0", "must be from 1 to 100, not 0"),
    ("max_megapixels", "inf", "must be from 0.01 to 20000, not inf"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_a_bad_value_is_named_with_where_it_stands(
    name: str, value: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(UsageError) as caught:
        resolve({name: value}, {}, path)
    assert str(caught.value) == f"{name} {message} (given with --{name.replace('_', '-')})"
    variable = f"DENOISETOOL_{name.upper()}"
    with pytest.raises(UsageError) as caught:
        resolve({}, {variable: value}, path)
    assert str(caught.value) == f"{name} {message} (set in the environment variable {variable})"
    path.write_text(f"{name} = {value!r}\n")
    with pytest.raises(UsageError) as caught:
        resolve({}, {}, path)
    assert str(caught.value).startswith(f"{path}: {name} {message}")
    assert "denoisetool config set" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strength = ", "cannot be read"),
        ("strenght = 1", "did you mean strength?"),
        ("low-prio = true", "did you mean low_priority?"),
        ("xyz = 1", "there is no setting 'xyz'"),
        ("strength = true", "strength must be a number"),
        ("model = [1]", "model must be text"),
        ("tile = 100.0", "tile must be a whole number"),
        ("color_lock = 7", "color_lock must be true or false"),
        ("[strength]\na = 1", "strength must be a number"),
    ],
)
def test_a_bad_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_file(path)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(UsageError, match="cannot be read"):
        read_file(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_file(tmp_path)


def test_dashes_count_as_underscores_and_auto_is_a_value(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('low-priority = true\ntile = "auto"\n')
    assert read_file(path) == {"low_priority": True, "tile": None}
    assert settings.find("max-megapixels").name == "max_megapixels"


def test_home_moves_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENOISETOOL_HOME", str(tmp_path))
    assert settings.folder("cache") == tmp_path / "cache"
    assert settings.config_path() == tmp_path / "config" / "config.toml"
    monkeypatch.setenv("DENOISETOOL_HOME", "~/x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.folder("state") == tmp_path / "x" / "state"
    from denoisetool.files import state_folder

    assert state_folder() == settings.folder("state")
    monkeypatch.delenv("DENOISETOOL_HOME")
    assert settings.folder("state").name


def test_variables_that_mean_nothing_are_found() -> None:
    environment = {"DENOISETOOL_STRENGHT": "1", "DENOISETOOL_STRENGTH": "1", "PATH": "x",
                   "DENOISETOOL_HOME": "x"}  # fmt: skip
    assert settings.unknown_variables(environment) == ["DENOISETOOL_STRENGHT"]


def test_the_fingerprint_changes_with_what_decides_the_output(tmp_path: Path) -> None:
    def fingerprint(**flags: Value) -> str:
        return resolve(flags, {}, tmp_path / "none").settings.fingerprint("ab" * 32)

    plain = fingerprint()
    deciding = {"strength", "luma", "chroma", "color_lock", "format", "quality", "strip"}
    for name, (flag, _, _) in TEXTS.items():
        changes = fingerprint(**{name: flag}) != plain
        assert changes == (name in deciding), name
    assert plain != resolve({}, {}, tmp_path / "none").settings.fingerprint("cd" * 32)


def test_every_setting_has_help_and_a_variable() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith(".")
        assert setting.variable == f"DENOISETOOL_{setting.name.upper()}"
        assert setting.parse("auto") is None if setting.optional else True
        assert os.sep not in setting.name
