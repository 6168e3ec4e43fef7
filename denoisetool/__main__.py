"""The program: the command line, and the window that `denoisetool gui` opens.

The two do not know each other; here they meet.
"""

from __future__ import annotations

from collections.abc import Sequence

from denoisetool import program


def main() -> None:
    """Run the command line and exit with its code."""
    program.start_over()
    program.end_at_once()
    from denoisetool import cli

    cli.main(_window)


def _window(photos: Sequence[str]) -> int:
    """Open the window; the exit code when it was closed."""
    from denoisetool import gui

    return gui.main(photos)


if __name__ == "__main__":
    main()
