"""The command line: one file per command, every option defined once in options.py."""

from __future__ import annotations

import os
import sys

from denoisetool.errors import EXIT_INTERRUPTED, DenoiseError


def main() -> None:
    """Run the command line and exit with its code; see errors.py for what the codes mean."""
    from denoisetool.cli.app import app
    from denoisetool.cli.console import show_error

    try:
        app(prog_name="denoisetool")
    except DenoiseError as error:
        show_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `denoisetool --json ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
