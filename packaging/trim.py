"""What a bundle leaves out, each with its reason; everything else that PyInstaller finds stays.

Left in on purpose: torch's own Python sources and its testing, _dynamo, _inductor, distributed and
the sympy under them. They are small, and an import of them can come as late as the first step of
an optimiser.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence

EXCLUDED = [
    "readline",  # a library under the GPL; nothing is typed into a Python prompt
    "tkinter", "_tkinter",  # a second window toolkit; Pillow and tqdm offer to use it
    "IPython", "matplotlib", "pandas", "scipy", "onnxruntime", "onnxscript", "onnx",
    "tensorboard", "pytest", "numba", "skimage", "cv2", "zarr", "dask", "lxml",
    # optional parts of torch, tifffile and tqdm; in the bundle only if the builder happens to have
    # them, and it must not depend on that
    "setuptools", "pip", "wheel", "pkg_resources", "_distutils_hack",  # nothing is installed there
    "PIL._avif",  # AVIF goes through imagecodecs, and each of the two brings a libavif of its own
    "PIL._imagingft", "PIL._imagingtk",  # we write no text into pictures, and have no Tk
]  # fmt: skip
"""Modules that neither program may contain."""

COMMAND_LINE = [
    "denoisetool.cli",
    "denoisetool.training",
    "denoisetool.finetune",
    "typer",
    "rich",
    "pydantic",
]
"""Not in the window program either: given a command, it starts the console program."""

ENGINE = ["torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "safetensors"]
"""Not in the window program: the engine runs in the console program, as a child process."""

CODECS = [
    "_shared", "_shared_cython", "_imcd",  # what all need; LZW, PackBits, predictors
    "_png", "_avif",
    "_zlib", "_deflate", "_zstd", "_lzma",  # and the rest for TIFF
    "_jpeg8", "_ljpeg", "_jpegsof3", "_jpeg2k", "_jpegxl", "_lerc", "_webp",
]  # fmt: skip
"""The codecs of imagecodecs that our formats use; it loads them by name, so PyInstaller misses all.
The smoke test reads a picture in each."""

_LEFT_OUT = {
    # torch
    r"torch/test/": "tests of the C++ library",
    r"torch/bin/(?!torch_shm_manager$)": "test programs and compilers of messages",
    r"torch/(include|share)/": "headers and CMake files, for compiling against torch",
    r"torch/lib/.*\.(lib|a)$": "import libraries, for linking against torch",
    r"torch/lib/lib(torchbind_test|jitbackend_test|backend_with_compiler|aoti_custom_ops)\.":
        "libraries of torch's own tests",
    r"(torch|numpy|sympy|mpmath|networkx|PIL|tifffile)/.*\.(pyi|pxd|h|hpp|cuh|cpp|c|cmake)$":
        "for type checkers and compilers",
    r"torch/(testing|_vendor|_inductor/(codegen|fx_passes|kernel))/.*\.py$":
        "sources beside the compiled modules, which stay; torch reads those of some others",
    # Python packages
    r"(numpy|networkx|sympy|mpmath)/(.*/)?tests?/": "tests",
    r"numpy/(f2py|_pyinstaller|distutils)/": "for compiling Fortran, and for packaging",
    # Qt, without what a window of widgets never loads
    r"PySide6/(Qt/)?translations/(?!qtbase_)": "texts of parts of Qt that are not here",
    r"PySide6/(Qt/)?qml/": "Qt Quick",
    r"PySide6/(Qt/)?plugins/platformthemes/libqgtk3": "needs GTK, and brings all of it along",
    r"PySide6/(Qt/)?plugins/platforms/libq(eglfs|linuxfb|vnc|vkkhrdisplay|minimalegl)":
        "screens without a desktop",
    r"PySide6/(Qt/)?plugins/(egldeviceintegrations|generic|networkinformation|tls|sqldrivers"
    r"|qmltooling|position|printsupport|virtualkeyboard|wayland-graphics-integration-server)/":
        "devices, network, databases, print: not used",
    r"PySide6/(Qt/)?plugins/platforminputcontexts/.*virtualkeyboard": "needs Qt Quick",
    r"PySide6/(Qt/)?plugins/imageformats/(lib)?q(pdf|tga|tiff|wbmp|icns|webp|gif)":
        "the window shows PNG, JPEG and SVG; photos are decoded by the engine",
    r"PySide6/Qt(Network|OpenGL\w*|Qml\w*|Quick\w*|Sql|Test|Concurrent|PrintSupport|DBus)\.":
        "what Python would need to call parts of Qt that the window does not use",
    r"(PySide6/)?opengl32sw\.dll$": "OpenGL in software; widgets are drawn without OpenGL",
}  # fmt: skip

_PATTERNS = [re.compile(pattern) for pattern in _LEFT_OUT]

Entry = tuple[str, str, str]
"""Of PyInstaller's lists: place in the bundle, source file, type."""


def is_left_out(place: str) -> bool:
    """Whether the file at a place in the bundle is one that is not needed."""
    return any(pattern.match(_slashes(place)) for pattern in _PATTERNS)


def kept(entries: Sequence[Entry], needs: Callable[[str], Iterable[str]]) -> list[Entry]:
    """The entries that stay.

    With what is left out go the libraries that nothing else needs, and links to what is gone. A
    library that nothing needed from the start stays: somebody loads it by name.

    Args:
        entries: all that PyInstaller found.
        needs: the names of the libraries that the one in a source file is linked to.
    """
    needed_by: dict[str, set[str]] = {}
    for place, source, kind in entries:
        if kind in ("BINARY", "EXTENSION"):
            for name in needs(source):
                needed_by.setdefault(_name(name), set()).add(place)
    gone = {place for place, _, _ in entries if is_left_out(place)}
    while True:
        left = [entry for entry in entries if entry[0] not in gone]
        places = {_slashes(place) for place, _, _ in left}
        new = {place for place, source, kind in left if _is_orphan(place, kind, needed_by, gone)
               or (kind == "SYMLINK" and _leads_to(place, source) not in places)}  # fmt: skip
        if not new:
            return left
        gone |= new


def _is_orphan(place: str, kind: str, needed_by: dict[str, set[str]], gone: set[str]) -> bool:
    """Whether all that needed a library is gone."""
    users = needed_by.get(_name(place), set()) if kind == "BINARY" else set()
    return bool(users) and users <= gone


def _leads_to(place: str, target: str) -> str:
    """Where in the bundle a link at `place` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_slashes(place)), _slashes(target)))


def _name(path: str) -> str:
    return posixpath.basename(_slashes(path)).lower()


def _slashes(path: str) -> str:
    return path.replace("\\", "/")


_STRIPPED = (
    # A fifth of the first and a quarter of the second.
    (re.compile(r"torch/lib/libtorch_(cpu|python)\.so$"), "--strip-unneeded"),
    # Where Python was built here, it has what debuggers want.
    (re.compile(r"libpython3\.[0-9]+\.so|python3\.[0-9]+/lib-dynload/"), "--strip-debug"),
)


def strips(place: str) -> str:
    """The option for `strip` that suits a library; '' for those that are not touched: some break.

    Args:
        place: of the library in the bundle, below `_internal`.
    """
    return next((option for pattern, option in _STRIPPED if pattern.match(place)), "")
