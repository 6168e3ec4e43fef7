"""What a bundle leaves out, each with its reason; everything else that PyInstaller finds stays.

Left in on purpose: torch's own Python sources and its testing, _dynamo, _inductor, distributed and
the sympy under them. They are small, and an import of them can come as late as the first step of
an optimiser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

EXCLUDED = [
    "tkinter", "_tkinter",  # a second window toolkit; Pillow and tqdm offer to use it
    "IPython", "matplotlib", "pandas", "scipy", "onnxruntime", "onnxscript", "onnx",
    "tensorboard", "pytest", "numba", "skimage", "cv2", "zarr", "dask", "lxml",
    # optional parts of torch, tifffile and tqdm; in the bundle only if the builder happens to have
    # them, and it must not depend on that
    "setuptools", "pip", "wheel", "pkg_resources", "_distutils_hack",  # nothing is installed there
]  # fmt: skip
"""Modules that neither program may contain."""

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
    # Python packages
    r"(numpy|networkx|sympy|mpmath)/(.*/)?tests?/": "tests",
    r"numpy/(f2py|_pyinstaller|distutils)/": "for compiling Fortran, and for packaging",
    # Qt, without what a window of widgets never loads
    r"PySide6/(Qt/)?translations/": "texts of Qt's own dialogs, which we do not open in languages",
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
    r"(PySide6/(Qt/lib/)?)?(lib)?Qt6?(Qml\w*|Quick\w*|VirtualKeyboard\w*|Pdf\w*|Network|OpenGL\w*"
    r"|Sql|Test|Concurrent|PrintSupport|EglF[Ss]\w*|LabsAnimation|LabsFolder\w*)(\.|$)":
        "libraries that only those plugins need",
    r"PySide6/Qt(Network|OpenGL\w*|Qml|Quick\w*|Sql|Test|Concurrent|PrintSupport)\.":
        "and what Python would need to call them",
    r"(PySide6/)?opengl32sw\.dll$": "OpenGL in software; widgets are drawn without OpenGL",
    r"lib(gtk-3|gdk-3|gdk_pixbuf-2\.0|atk-1\.0|atk-bridge-2\.0|atspi|pango\w*-1\.0|cairo\w*|epoxy"
    r"|harfbuzz|fribidi|thai|datrie|pixman-1|rsvg-2)\.so": "of GTK",
}  # fmt: skip

_PATTERNS = [re.compile(pattern) for pattern in _LEFT_OUT]

Entry = tuple[str, str, str]
"""Of PyInstaller's lists: place in the bundle, source file, type."""


def is_left_out(place: str) -> bool:
    """Whether the file at a place in the bundle is one that is not needed."""
    place = place.replace("\\", "/")
    return any(pattern.match(place) for pattern in _PATTERNS)


def kept(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that stay."""
    return [entry for entry in entries if not is_left_out(entry[0])]


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
