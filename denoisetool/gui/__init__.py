"""The window. It never loads torch: child processes do the work and speak JSON lines.

app.py          the application: theme, language, the first window
window.py       the window: three pages and a status bar
photos_page.py  photos: queue, before and after, controls
runner.py       a run of the queue: what is asked of the worker, what it says
looker.py       which picture is shown, and its preview
watch_page.py   a folder that is watched            finetune_page.py   a model of one's own
viewer.py       before and after, zoom and pan      photo_list.py      the queue
controls.py     the settings on the right           widgets.py         small parts of all these
pictures.py     photos as the screen takes them     background.py      work in threads
child.py        child processes                     preferences.py     settings, and what the window
                                                                       remembers
"""

from __future__ import annotations

from collections.abc import Sequence

from denoisetool.errors import UsageError


def main(photos: Sequence[str] = ()) -> int:
    """Open the window and return when it was closed.

    Args:
        photos: files and folders to open in it.

    Returns:
        The exit code.

    Raises:
        UsageError: PySide6 is not installed, or a library of the system that it needs is missing.
    """
    try:
        from denoisetool.gui.app import run
    except ImportError as error:
        raise _missing(error) from error
    return run(photos)


def _missing(error: ImportError) -> UsageError:
    """Why there can be no window."""
    if (error.name or "").split(".")[0] in ("PySide6", "shiboken6"):
        hint = "pip install 'denoisetool[gui]'"
        return UsageError("the window needs PySide6, which is not installed", hint=hint)
    hint = (
        "on Debian and Ubuntu: apt install libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3"
    )
    return UsageError(f"the window needs a library of the system: {error}", hint=hint)
