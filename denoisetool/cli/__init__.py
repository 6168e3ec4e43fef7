"""The command line: one file per command, every option defined once in options.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from denoisetool.errors import EXIT_INTERRUPTED, DenoiseError, UsageError
from denoisetool.program import WORKER, leave

Window = Callable[[Sequence[str]], int]
"""Opens the window with photos in it; returns the exit code when it was closed."""


def main(window: Window | None = None) -> None:
    """Run the command line and exit with its code; see errors.py for what the codes mean.

    Args:
        window: what `denoisetool gui` opens. The command line and the window do not know each
            other: who starts the program has both.
    """
    try:
        code = _run(window)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # `denoisetool --json ... | head`: whoever read has gone
        code = 1
    _let_go_of_pipes()
    leave(code)


def _run(window: Window | None) -> int:
    """The exit code of the command that was given; everything expected is told to the user."""
    if sys.argv[1:] == [WORKER]:
        from denoisetool import server

        return server.main()
    from denoisetool.cli.app import command
    from denoisetool.cli.console import show_error

    as_json = "--json" in sys.argv
    try:
        return int(command().main(prog_name="denoisetool", standalone_mode=False, obj=window) or 0)
    except DenoiseError as error:
        failure: DenoiseError | None = error
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of the command-line parser's own
            raise
        failure = _usage(error)
    if failure is None:
        return UsageError.exit_code
    try:
        show_error(failure, as_json=as_json)
    except DenoiseError:  # not even the error could be written: stdout is what failed
        show_error(failure)
    return failure.exit_code


def _usage(error: object) -> DenoiseError | None:
    """The parser's complaint as ours; None for the help that it raises without arguments."""
    context = getattr(error, "ctx", None)
    text = str(getattr(error, "format_message")())  # noqa: B009 - its class is private
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(text + "\n")
        return None
    path = " ".join(context.command_path.split()) if context is not None else "denoisetool"
    what = text.strip().rstrip(".")
    return UsageError(what[:1].lower() + what[1:], hint=f"`{path} --help` shows what there is")


def _let_go_of_pipes() -> None:
    """What is still in a buffer whose reader has gone, or whose disk is full, cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                continue
