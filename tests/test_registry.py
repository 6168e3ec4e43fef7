"""Models are found, verified, installed, removed; hostile packs and bad networks are survived."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import denoisetool
from denoisetool.errors import ModelError, OutputError, UsageError
from denoisetool.registry import Places, Registry, check, disk, download, pack, places


def weights(seed: int = 0, count: int = 8) -> bytes:
    """A small sound safetensors file."""
    body = bytes((seed + i * i) % 251 for i in range(4 * count))
    tensor = {"dtype": "F32", "shape": [count], "data_offsets": [0, len(body)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "body.weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + body


def card(name: str, data: bytes, extra: str = "") -> str:
    return (
        f'card_version = 1\nname = "{name}"\ntitle = "A {name} model"\nnet = "unet"\n'
        f'weights_sha256 = "{hashlib.sha256(data).hexdigest()}"\n{extra}\n'
        "[net_args]\nwidths = [8]\n"
    )


def files(name: str = "tiny", seed: int = 0, count: int = 8) -> dict[str, bytes]:
    """The files of a sound model."""
    data = weights(seed, count)
    return {
        "model.toml": card(name, data).encode(),
        "weights.safetensors": data,
        "recipe.toml": b"steps = 1\n",
    }


def folder(where: Path, name: str = "tiny", seed: int = 0) -> Path:
    """A model folder `where/name`."""
    (where / name).mkdir(parents=True)
    for file, data in files(name, seed).items():
        (where / name / file).write_bytes(data)
    return where / name


def zipped(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.delenv("DENOISETOOL_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.001)
    for name in ("fast", "best"):
        folder(tmp_path / "bundled", name)
    return Registry(Places(tmp_path / "data", tmp_path / "cache", tmp_path / "bundled"))


def leftovers(registry: Registry) -> list[str]:
    """Whatever temporary things lie in the registry's folders."""
    shelves = [shelf for _, shelf in registry.places.shelves] + [registry.places.downloads]
    return [
        p.name for s in shelves for p in s.glob("*") if p.suffix == ".part" or "incoming" in p.name
    ]


# --- finding and listing -------------------------------------------------------------------------


def test_the_users_model_wins_over_installed_over_bundled(registry: Registry) -> None:
    folder(registry.places.data / "models", "fast", seed=1)
    folder(registry.places.cache / "models", "fast", seed=2)
    folder(registry.places.cache / "models", "best", seed=3)
    assert registry.names() == ("best", "fast")
    assert [e.origin for e in registry.list()] == ["installed", "user"]
    assert registry.find("fast").folder == registry.places.data / "models" / "fast"


def test_a_model_is_found_by_its_folder(registry: Registry, tmp_path: Path) -> None:
    mine = folder(tmp_path / "elsewhere", "mine")
    entry = registry.find(mine)
    assert (entry.name, entry.origin, entry.card.net_args) == ("mine", "user", {"widths": [8]})
    assert registry.find(str(tmp_path / "bundled" / "fast")).origin == "bundled"
    assert entry.weights.is_file()
    assert entry.recipe.is_file()


def test_the_name_of_a_model_is_that_of_its_folder(registry: Registry) -> None:
    folder(registry.places.data / "models", "fast").rename(registry.places.data / "models" / "new")
    assert registry.find("new").card.name == "new"


@pytest.mark.parametrize(
    ("name", "said"),
    [("fats", "did you mean fast"), ("zzz", "there are best, fast"), ("", "best, fast"),
     ("../bundled/fast", "no model in this folder"), (".", "no model"), ("x/y", "no model")],
)  # fmt: skip
def test_an_unknown_name_gets_advice(
    registry: Registry, name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if name == "../bundled/fast":
        (tmp_path / "bundled" / "fast" / "model.toml").unlink()
    with pytest.raises(ModelError, match=said):
        registry.find(name)


def test_an_empty_registry(tmp_path: Path) -> None:
    registry = Registry(Places(tmp_path / "a", tmp_path / "b"))
    assert registry.list() == []
    with pytest.raises(ModelError, match="no model is installed"):
        registry.find("fast")


@pytest.mark.parametrize(
    "text",
    ["", "not toml [", 'card_version = 99\nname = "x"', card("x", b"", 'sigma_range = ["a", "b"]'),
     card("x", b"", "stride = 0"), "\0"],
)  # fmt: skip
def test_a_broken_card_is_listed_with_its_problem(registry: Registry, text: str) -> None:
    broken = folder(registry.places.data / "models", "broken")
    (broken / "model.toml").write_text(text)
    entry = next(e for e in registry.list() if e.name == "broken")
    assert isinstance(entry.problem, ModelError)
    assert len(registry.list()) == 3
    with pytest.raises(ModelError):
        registry.find("broken")
    with pytest.raises(ModelError):
        registry.verify(entry)
    registry.remove("broken")
    assert "broken" not in registry.names()


def test_missing_files_are_problems(registry: Registry) -> None:
    (registry.places.data / "models" / "empty").mkdir(parents=True)
    (folder(registry.places.data / "models", "light") / "weights.safetensors").unlink()
    (registry.places.data / "models" / "note.txt").write_text("no model")
    problems = {e.name: str(e.problem) for e in registry.list() if e.problem}
    assert "no model card" in problems["empty"]
    assert "weights are missing" in problems["light"]
    assert len(problems) == 2


# --- verifying -----------------------------------------------------------------------------------


def test_verify_reads_unchanged_weights_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    real = check.sha256_of

    def counted(path: Path) -> str:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(check, "sha256_of", counted)
    entry = registry.find("fast")
    registry.verify(entry)
    registry.verify(entry)
    Registry(registry.places).verify(entry)
    assert len(reads) == 1
    registry.verify(registry.find("best"))
    registry.verify(entry)
    assert len(reads) == 2

    data = bytearray(entry.weights.read_bytes())
    data[-1] ^= 1
    entry.weights.write_bytes(data)
    os.utime(entry.weights, ns=(1, 1))
    with pytest.raises(ModelError, match="not those of the card") as caught:
        registry.verify(entry)
    assert caught.value.path == entry.weights
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("damage", ["not json", "[1]", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_damaged_or_unwritable_memory_does_not_matter(registry: Registry, damage: str) -> None:
    registry.places.digests.parent.mkdir(parents=True)
    registry.places.digests.write_text(damage)
    registry.verify(registry.find("fast"))
    registry.places.digests.unlink()
    registry.places.digests.mkdir()
    registry.verify(registry.find("fast"))
    assert leftovers(registry) == []


def tensors(total: int = 8, **table: Any) -> bytes:
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + bytes(total)


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04pickle",
        b"PK\x03\x04" + bytes(100),
        struct.pack("<Q", 2**60) + b"{}",
        weights()[:-1],
        weights() + b"x",
        struct.pack("<Q", 3) + b"[1]",
        struct.pack("<Q", 4) + b"\xff{}\xff",
        struct.pack("<Q", 90000) + b"[" * 90000,
        tensors(0),
        tensors(a=GOOD, b=GOOD),
        tensors(a=GOOD | {"dtype": "object"}),
        tensors(a=GOOD | {"shape": [3]}),
        tensors(a=GOOD | {"shape": [-2]}),
        tensors(a=GOOD | {"shape": 2}),
        tensors(a=GOOD | {"data_offsets": [4, 12]}),
        tensors(a=GOOD | {"data_offsets": [0]}),
        tensors(a={"dtype": "F32"}),
        tensors(a=7),
        tensors(12, a=GOOD),
    ],
)
def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(ModelError):
        check.weights_header(tmp_path / "w")


def test_sound_weights_pass(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    import numpy as np

    (tmp_path / "w").write_bytes(
        safetensors.save({"b": np.zeros((2, 3), np.float16), "a": np.ones(5), "e": np.ones((0, 2))})
    )
    assert check.weights_header(tmp_path / "w")["b"]["shape"] == [2, 3]
    (tmp_path / "own").write_bytes(weights())
    safetensors.load_file(tmp_path / "own")


# --- installing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "tiny/", "./"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_install_and_remove(registry: Registry, tmp_path: Path, kind: str, prefix: str) -> None:
    content = {prefix + k: v for k, v in files().items()}
    content |= {prefix + "README.md": b"hello", prefix + "virus.exe": b"no", "other/x.py": b"no"}
    source = tmp_path / f"pack.{kind}"
    if kind == "folder":
        source = folder(tmp_path, "tiny")
        (source / "README.md").write_text("hello")
        (source / "virus.exe").write_text("no")
    else:
        source.write_bytes(zipped(content) if kind == "zip" else tarred(content))
    entry = registry.install(source)
    assert entry.folder == registry.places.cache / "models" / "tiny"
    assert (entry.origin, entry.notes) == ("installed", ())
    assert sorted(p.name for p in entry.folder.iterdir()) == [
        "README.md", "model.toml", "recipe.toml", "weights.safetensors",
    ]  # fmt: skip
    registry.verify(registry.find("tiny"))
    registry.remove("tiny")
    assert registry.names() == ("best", "fast")
    assert leftovers(registry) == []
    assert source.exists()


def test_install_under_another_name_among_the_users_own(registry: Registry, tmp_path: Path) -> None:
    entry = registry.install(folder(tmp_path, "tiny"), name="my-camera", user=True)
    assert entry.folder == registry.places.data / "models" / "my-camera"
    assert entry.card.name == registry.find("my-camera").name == "my-camera"


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "A", ".hidden", "con", "com1.x", "x" * 65, "ü", "a."]
)
def test_names_that_could_do_harm_are_refused(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    source = folder(tmp_path, "tiny")
    with pytest.raises(ModelError, match="cannot be the name"):
        registry.install(source, name=name)
    (source / "model.toml").write_text(card(name, weights()), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be the name"):
        registry.install(source)
    with pytest.raises(ModelError):
        registry.remove(name)
    assert leftovers(registry) == []


def test_nothing_is_replaced_unasked(registry: Registry, tmp_path: Path) -> None:
    old, new = folder(tmp_path / "1", seed=1), folder(tmp_path / "2", seed=2)
    registry.install(old)
    with pytest.raises(ModelError, match="already"):
        registry.install(new)
    assert registry.find("tiny").weights.read_bytes() == weights(1)
    registry.install(new, replace=True)
    assert registry.find("tiny").weights.read_bytes() == weights(2)
    with pytest.raises(ModelError, match="already"):
        registry.install(new, name="fast")
    assert registry.install(new, name="fast", replace=True).origin == "installed"
    registry.remove("fast")
    assert registry.find("fast").origin == "bundled"
    registry.install(new, name="tiny", user=True, replace=True)
    with pytest.raises(ModelError, match="hide"):
        registry.install(new, replace=True)
    assert leftovers(registry) == []


def test_a_failed_replacement_leaves_the_old_model(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.install(folder(tmp_path / "1", seed=1))
    real = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "model":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        registry.install(folder(tmp_path / "2", seed=2), replace=True)
    assert registry.find("tiny").weights.read_bytes() == weights(1)
    assert leftovers(registry) == []


def test_what_a_killed_process_left_is_put_right(registry: Registry, tmp_path: Path) -> None:
    registry.install(folder(tmp_path / "1", seed=1))
    shelf = registry.places.cache / "models"
    (shelf / ".incoming-dead" / "model").mkdir(parents=True)
    (shelf / "tiny").rename(shelf / ".incoming-dead" / "replaced-tiny")
    assert "tiny" not in registry.names()
    registry.install(folder(tmp_path / "2", "other"))
    assert registry.find("tiny").weights.read_bytes() == weights(1)
    assert leftovers(registry) == []


def test_what_a_users_model_replaced_can_be_brought_back(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no earlier version of 'own'"):
        registry.rollback("own")
    entries = []
    for seed in (1, 2, 3):
        source = folder(tmp_path / str(seed), "own", seed)
        entries.append(registry.install(source, user=True, replace=True))
    shas = [entry.card.weights_sha256 for entry in entries]
    assert len(set(shas)) == 3
    assert registry.find("own").card.weights_sha256 == shas[2]
    assert registry.rollback("own").card.weights_sha256 == shas[1]
    assert registry.rollback("own").card.weights_sha256 == shas[2]
    registry.remove("own")
    assert registry.rollback("own").card.weights_sha256 == shas[1]
    registry.verify(registry.find("own"))
    assert leftovers(registry) == []


def test_a_pack_made_here_is_taken_elsewhere(registry: Registry, tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "own", 4)
    (source / "report.html").write_text("the user's photos")
    entry = registry.install(source, user=True)
    assert (entry.folder / "report.html").exists()
    packs = []
    for _ in range(2):
        out = io.BytesIO()
        registry.export("own", out)
        packs.append(out.getvalue())
    assert packs[0] == packs[1]
    pack = tmp_path / "own.zip"
    pack.write_bytes(packs[0])
    other = Registry(Places(tmp_path / "d", tmp_path / "c"))
    taken = other.install(pack)
    other.verify(taken)
    assert taken.card == entry.card
    assert not (taken.folder / "report.html").exists()
    with pytest.raises(ModelError, match="no model 'none'"):
        registry.export("none", io.BytesIO())


def test_bundled_and_unknown_models_are_not_removed(registry: Registry) -> None:
    with pytest.raises(UsageError, match="came with the program"):
        registry.remove("fast")
    with pytest.raises(ModelError, match="did you mean best"):
        registry.remove("bets")
    assert registry.names() == ("best", "fast")


def test_a_model_that_is_not_sound_is_not_installed(registry: Registry, tmp_path: Path) -> None:
    for change in (
        {"weights.safetensors": weights(9)},
        {"weights.safetensors": b"\x80\x04."},
        {"weights.safetensors": None},
        {"model.toml": b"name = 3"},
        {"model.toml": None},
        {"model.toml": b"\xff\xfe"},
    ):
        content = {k: v for k, v in (files() | change).items() if v is not None}
        source = tmp_path / "bad.zip"
        source.write_bytes(zipped(content))
        with pytest.raises(ModelError) as caught:
            registry.install(source)
        assert caught.value.path == source
        assert registry.names() == ("best", "fast")
        assert leftovers(registry) == []


def test_what_is_no_pack_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "cut.zip").write_bytes(zipped(files(count=5000))[:900])
    (tmp_path / "cut.tar.gz").write_bytes(tarred(files(count=5000))[:400])
    broken = bytearray(zipped(files(count=5000)))
    broken[300:340] = bytes(40)
    (tmp_path / "broken.zip").write_bytes(broken)
    two = {f"{top}/{k}": v for top in "ab" for k, v in files().items()}
    (tmp_path / "two.zip").write_bytes(zipped(two))
    for name in ("photo.jpg", "cut.zip", "cut.tar.gz", "broken.zip", "two.zip", "missing.zip"):
        with pytest.raises(ModelError):
            registry.install(tmp_path / name)
    with pytest.raises(ModelError):
        registry.install("ftp://127.0.0.1/x.zip")
    assert leftovers(registry) == []


HOSTILE = ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:evil.txt"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("wrap", [zipped, tarred])
def test_paths_that_lead_out_are_refused(
    registry: Registry, tmp_path: Path, name: str, wrap: Any
) -> None:
    source = tmp_path / "in" / "pack"
    source.parent.mkdir()
    source.write_bytes(wrap(files() | {name: b"evil"}))
    with pytest.raises(ModelError, match="leads out"):
        registry.install(source)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(
    registry: Registry, tmp_path: Path, kind: bytes
) -> None:
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("weights.safetensors")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
        card_info = tarfile.TarInfo("model.toml")
        card_info.size = len(files()["model.toml"])
        archive.addfile(card_info, io.BytesIO(files()["model.toml"]))
    with pytest.raises(ModelError, match="link or a device"):
        registry.install(tmp_path / "p.tar.gz")


def test_links_and_duplicates_in_a_zip_are_refused(registry: Registry, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("recipe.toml")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="link or a device"):
        registry.install(tmp_path / "l.zip")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name, data in files().items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("weights.safetensors", b"second")
    with pytest.raises(ModelError, match="twice"):
        registry.install(tmp_path / "d.zip")


@pytest.mark.parametrize("wrap", [zipped, tarred])
def test_oversize_packs_are_refused(
    registry: Registry, tmp_path: Path, wrap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pack"
    source.write_bytes(wrap(files() | {"recipe.toml": bytes(33 << 20)}))
    with pytest.raises(ModelError, match="too large"):
        registry.install(source)
    source.write_bytes(wrap({f"{i}": b"" for i in range(1001)}))
    with pytest.raises(ModelError, match="too many"):
        registry.install(source)
    monkeypatch.setattr(pack, "MAX_WEIGHTS", 1 << 20)
    source.write_bytes(tarred(files() | {"padding": bytes(3 << 20)}))
    with pytest.raises(ModelError, match="too large"):
        registry.install(source)


def test_a_zip_that_lies_about_a_size_is_refused(registry: Registry, tmp_path: Path) -> None:
    data = bytearray(zipped(files() | {"recipe.toml": b"0" * 5000}))
    at = data.rindex(b"PK\x01\x02")  # the central directory's entry of the recipe
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    (tmp_path / "lie.zip").write_bytes(data)
    with pytest.raises(ModelError):
        registry.install(tmp_path / "lie.zip")
    assert leftovers(registry) == []


def test_a_registry_that_cannot_be_written(registry: Registry, tmp_path: Path) -> None:
    registry.places.cache.write_text("a file in the way")
    with pytest.raises(OutputError) as caught:
        registry.install(folder(tmp_path, "tiny"))
    assert caught.value.exit_code == 6


def test_two_processes_do_not_change_the_models_at_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_LOCK_SECONDS", 0.05)
    shelf = registry.places.cache / "models"
    shelf.mkdir(parents=True)
    with FileLock(shelf / ".lock"), pytest.raises(ModelError, match="another process"):
        registry.install(folder(tmp_path, "tiny"))


# --- downloading ---------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` by path; `cuts` holds after how many bytes each coming answer breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.then: list[dict[str, bytes]] = []  # content after each cut
        self.fail: list[int] = []
        self.ranges = True
        self.heeds_if_range = True
        self.etag = True
        self.served = 0
        self.requests: list[tuple[str, str | None]] = []

    def url(self, path: str = "/tiny.zip") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def asked(self, path: str = "/tiny.zip") -> list[str | None]:
        """The Range headers of the requests for one path."""
        return [range_ for asked, range_ in self.requests if asked == path]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        data = self.server.content.get(self.path)
        if data is None:
            self.send_error(404)
            return
        if self.server.fail:
            self.send_error(self.server.fail.pop(0))
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        start = 0
        fresh = self.headers.get("If-Range") in (None, etag) or not self.server.heeds_if_range
        if wanted and self.server.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if self.path.endswith(".zip") and self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
            if self.server.then:
                self.server.content = self.server.then.pop(0)
        self.server.served += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PACK = zipped(files(count=40_000))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_model_is_installed_from_an_address(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    seen: list[tuple[int, int | None]] = []
    entry = registry.install(server.url(), progress=lambda *got: seen.append(got))
    assert entry.origin == "installed"
    assert "no checksum" in entry.notes[0]
    assert seen[-1] == (len(PACK), len(PACK))
    registry.verify(entry)
    assert leftovers(registry) == []


def test_a_broken_download_continues_where_it_stopped(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    server.cuts = [1000, 0, 500]
    entry = registry.install(f"{server.url()}#sha256={digest_of(PACK)}")
    assert entry.notes == ()
    assert server.served == len(PACK)  # not one byte twice
    assert server.asked() == [None, "bytes=1000-", "bytes=1000-", "bytes=1500-"]


def test_the_next_try_continues_a_given_up_download(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    server.cuts = [700] + [0] * (download.ATTEMPTS - 1)
    with pytest.raises(ModelError, match="closed after 700 of") as caught:
        registry.install(server.url())
    assert "here already" in caught.value.hint
    assert registry.install(server.url()).name == "tiny"
    assert server.served == len(PACK)


def test_a_complete_part_is_not_downloaded_again(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    part = download.Part(registry.places.downloads, server.url())
    part.begin(f'"{digest_of(PACK)[:8]}"')
    part.path.write_bytes(PACK)
    assert registry.install(server.url()).name == "tiny"
    assert server.served == 0


def test_a_part_longer_than_the_file_is_thrown_away(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    part = download.Part(registry.places.downloads, server.url())
    part.begin(f'"{digest_of(PACK)[:8]}"')
    part.path.write_bytes(PACK + b"more")
    assert registry.install(server.url()).name == "tiny"


def test_a_server_that_ignores_ranges_sends_it_all_again(
    registry: Registry, server: Server
) -> None:
    server.content["/tiny.zip"] = PACK
    server.ranges = False
    server.cuts = [1000]
    registry.install(f"{server.url()}#sha256={digest_of(PACK)}")
    assert server.served == len(PACK) + 1000


def test_a_file_that_changes_meanwhile_is_begun_anew(registry: Registry, server: Server) -> None:
    other = zipped(files("other", seed=3, count=30_000))
    server.content["/tiny.zip"] = PACK
    server.cuts, server.then = [1000], [{"/tiny.zip": other}]
    assert registry.install(server.url()).name == "other"
    assert server.served == len(other) + 1000


def test_a_server_that_continues_with_another_file_is_noticed(
    registry: Registry, server: Server
) -> None:
    other = zipped(files("other", seed=3, count=30_000))
    server.heeds_if_range = False
    server.content["/tiny.zip"] = PACK
    server.cuts, server.then = [1000], [{"/tiny.zip": other}]
    assert registry.install(server.url()).name == "other"
    assert server.asked() == [None, "bytes=1000-", None]


def test_parts_of_different_files_are_never_joined(registry: Registry, server: Server) -> None:
    other = zipped(files("other", seed=3, count=30_000))
    server.etag = False  # nothing tells that the file has changed, but the checksum does
    server.content["/tiny.zip"] = PACK
    server.cuts, server.then = [1000], [{"/tiny.zip": other}]
    assert registry.install(f"{server.url()}#sha256={digest_of(other)}").name == "other"
    assert server.served == 2 * len(other)
    server.content["/tiny.zip"] = PACK
    server.cuts, server.served = [1000], 0
    registry.install(server.url())  # neither: all of it again
    assert server.served == len(PACK) + 1000


def test_wrong_bytes_are_refused(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip"] = PACK
    with pytest.raises(ModelError, match="not the promised file"):
        registry.install(f"{server.url()}#sha256={'0' * 64}")
    server.content["/tiny.zip.sha256"] = b"1" * 64 + b"  tiny.zip\n"
    with pytest.raises(ModelError, match="not the promised file"):
        registry.install(server.url())
    server.content["/tiny.zip"] = zipped(files() | {"weights.safetensors": weights(5)})
    del server.content["/tiny.zip.sha256"]
    with pytest.raises(ModelError, match="not those of the card") as caught:
        registry.install(server.url())
    assert server.url() in caught.value.what
    assert caught.value.path is None
    assert registry.names() == ("best", "fast")
    assert leftovers(registry) == []


def test_a_checksum_file_beside_the_pack_counts(registry: Registry, server: Server) -> None:
    server.content["/tiny.zip?v=2"] = PACK
    server.content["/tiny.zip.sha256?v=2"] = digest_of(PACK).upper().encode() + b"\n"
    assert registry.install(server.url("/tiny.zip?v=2")).notes == ()
    server.content["/web.zip"] = zipped(files("web"))
    server.content["/web.zip.sha256"] = b"<html>Welcome</html>"
    assert "no checksum" in registry.install(server.url("/web.zip")).notes[0]


def test_refusals_are_not_repeated_and_hiccups_are(registry: Registry, server: Server) -> None:
    with pytest.raises(ModelError, match="404") as caught:
        registry.install(f"{server.url()}#sha256={'0' * 64}")
    assert caught.value.exit_code == 4
    assert len(server.requests) == 1
    server.content["/tiny.zip"] = PACK
    server.fail = [503, 429]
    assert registry.install(server.url()).name == "tiny"


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:99999/x", "http://127.0.0.1:1/x y"])
def test_addresses_that_cannot_work(registry: Registry, url: str) -> None:
    with pytest.raises(ModelError):
        registry.install(url)


def test_nobody_there(registry: Registry) -> None:
    with Server() as gone:
        url = gone.url()
    with pytest.raises(ModelError, match="cannot be reached"):
        registry.install(url)
    with pytest.raises(ModelError, match="cannot be downloaded"):
        registry.install(f"{url}#sha256={'0' * 64}")


def test_a_bad_checksum_in_the_address(registry: Registry, server: Server) -> None:
    with pytest.raises(ModelError, match="not a checksum"):
        registry.install(f"{server.url()}#md5=123")
    assert server.requests == []


def test_offline_means_no_connection(
    registry: Registry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content["/tiny.zip"] = PACK
    with pytest.raises(ModelError, match="switched off"):
        registry.install(server.url(), offline=True)
    monkeypatch.setenv("DENOISETOOL_OFFLINE", "1")
    with pytest.raises(ModelError, match="switched off"):
        registry.install(server.url())
    assert server.requests == []
    monkeypatch.setenv("DENOISETOOL_OFFLINE", "0")
    assert registry.install(server.url()).name == "tiny"


def test_two_downloads_of_one_pack_wait_for_each_other(
    registry: Registry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content["/tiny.zip"] = PACK
    monkeypatch.setattr(disk, "_LOCK_SECONDS", 0.05)
    part = download.Part(registry.places.downloads, server.url())
    part.folder.mkdir(parents=True)
    with FileLock(part.lock), pytest.raises(ModelError, match="another process is downloading"):
        registry.install(server.url())
    assert registry.install(server.url()).name == "tiny"


def test_a_download_that_fills_the_disk(
    registry: Registry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(out: io.FileIO, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    server.content["/tiny.zip"] = PACK
    monkeypatch.setattr(disk, "write_all", full)
    with pytest.raises(OutputError, match="No space left"):
        registry.install(server.url())
    assert len(server.asked()) == 1


def test_endless_downloads_are_refused(
    registry: Registry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content["/tiny.zip"] = PACK
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="too large"):
        registry.install(server.url())


# --- places --------------------------------------------------------------------------------------


def test_one_variable_moves_the_users_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENOISETOOL_HOME", str(tmp_path))
    default = Registry().places
    assert default.shelf("user") == tmp_path / "data" / "models"
    assert default.shelf("installed") == tmp_path / "cache" / "models"
    monkeypatch.delenv("DENOISETOOL_HOME")
    assert tmp_path not in Places.default().data.parents
    assert list(tmp_path.iterdir()) == []  # looking makes nothing


def test_bundled_models_of_a_bundle_a_wheel_and_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "denoisetool"
    package.mkdir(parents=True)
    monkeypatch.setattr(denoisetool, "__file__", str(package / "__init__.py"))
    (tmp_path / "site" / "models").mkdir()
    assert places.bundled_models() is None  # somebody else's "models" folder
    (tmp_path / "site" / "pyproject.toml").touch()
    assert places.bundled_models() == tmp_path / "site" / "models"
    (package / "_models").mkdir()
    assert places.bundled_models() == package / "_models"
    frozen = tmp_path / "bundle"
    (frozen / "denoisetool" / "_models").mkdir(parents=True)
    monkeypatch.setattr(sys, "_MEIPASS", str(frozen), raising=False)
    assert places.bundled_models() == frozen / "denoisetool" / "_models"


def test_listing_imports_neither_torch_nor_the_network(tmp_path: Path) -> None:
    code = (
        "import sys; from denoisetool.registry import Registry; Registry().list(); "
        "print([m for m in ('torch', 'urllib.request', 'zipfile', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"DENOISETOOL_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
