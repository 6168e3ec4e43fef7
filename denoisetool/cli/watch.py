"""`denoisetool watch DIR`: denoise whatever arrives in a folder, for good."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from denoisetool import program
from denoisetool.cli import options
from denoisetool.errors import NoInputError, UsageError
from denoisetool.settings import Settings

if TYPE_CHECKING:
    from denoisetool import files
    from denoisetool.cli.console import Console
    from denoisetool.pipeline import Pipeline
    from denoisetool.watch import Options


class WatchCommand(TyperCommand):
    """A command whose --poll needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give `--poll` its usual value where none follows."""
        for position, word in enumerate(args):
            if word == "--":
                break
            following = args[position + 1 : position + 2]
            if word == "--poll" and not (following and _is_number(following[0])):
                args = [*args[:position], "--poll=10", *args[position + 1 :]]
        return super().parse_args(ctx, args)


def _named(word: str) -> str:
    """A folder's name; an empty one is most likely a variable that was never set."""
    if not word:
        raise UsageError("an empty name would mean the current folder", hint="write . for that")
    return word


def _folder(word: str) -> Path:
    return Path(_named(word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _option(*flags: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*flags, help=text, metavar=metavar, show_default=False, **more)


def watch(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders to watch.", show_default=False,
                       parser=_folder),
    ],
    output: Annotated[
        str | None,
        _option("--output", "-o", metavar="FOLDER", parser=_named,
                text="Where the results go. [default: beside each folder: inbox-clean/]"),
    ] = None,
    recursive: Annotated[
        bool, _option("--recursive/--no-recursive", text="Subfolders too. [default: yes]")
    ] = True,
    once: Annotated[
        bool, _option("--once", text="Do what is there and what was missed, then end.")
    ] = False,
    settle: Annotated[
        float,
        _option("--settle", metavar="SECONDS", min=0.0, max=86400.0,
                text="A file that nobody closed counts as complete when it did not change for so"
                     " long. [default: 2]"),
    ] = 2.0,
    poll: Annotated[
        float | None,
        _option("--poll", metavar="[SECONDS]", min=0.1, max=86400.0,
                text="Look through the folder so often instead of waiting for events. [default:"
                     " every 10 s where no events come, as on network drives]"),
    ] = None,
    archive: Annotated[
        Path | None,
        _option("--archive", metavar="FOLDER", parser=_folder,
                text="Move each original there once its result was verified."),
    ] = None,
    trash: Annotated[
        bool, _option("--trash", text="Put it into the trash then. [default: leave it]")
    ] = False,
    on_done: Annotated[
        str | None,
        _option("--on-done", metavar="COMMAND",
                text="Run this for every finished photo, without a shell; {output} and {source} are"
                     " replaced."),
    ] = None,
    unload_after: Annotated[
        float,
        _option("--unload-after", metavar="SECONDS", min=0.0,
                text="Give the model's memory back after so long without work. [default: 300]"),
    ] = 300.0,
    show_status: Annotated[
        bool, _option("--status", text="Show how the watch of a folder stands; 1 if none runs.")
    ] = False,
    retry_failed: Annotated[
        bool, _option("--retry-failed", text="Try again what failed, a running watch too.")
    ] = False,
    install_service: Annotated[
        bool, _option("--install-service", text="Have the system run this watch from now on.")
    ] = False,
    uninstall_service: Annotated[
        bool, _option("--uninstall-service", text="Have it stop that.")
    ] = False,
    print_only: Annotated[
        bool, _option("--print", text="With these two: show the service, change nothing.")
    ] = False,
    model: options.Model = None,
    camera_models: options.CameraModels = None,
    device: options.Device = None,
    precision: options.Precision = None,
    scale: options.Scale = None,
    strength: options.Strength = None,
    luma: options.Luma = None,
    chroma: options.Chroma = None,
    color_lock: options.ColorLock = None,
    tile: options.Tile = None,
    jobs: options.Jobs = None,
    format: options.Format = None,  # noqa: A002 - the option's name
    quality: options.Quality = None,
    name: options.Name = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    strip: options.Strip = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    low_priority: options.LowPriority = None,
    max_megapixels: options.MaxMegapixels = None,
) -> None:  # fmt: skip
    """Denoise whatever arrives in a folder, and what is there already, for as long as it runs.

    The originals stay where they are, unless --archive or --trash say otherwise. Every photo is
    written down in a ledger: --status shows what was seen, done and failed. It may be killed at any
    moment; the next start goes on from there.
    """
    settings = options.settings_from(locals())
    if archive is not None and trash:
        raise UsageError("--archive and --trash contradict each other")
    roots = [_absolute(folder) for folder in folders]
    from denoisetool.cli.console import Console

    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    if show_status:
        raise typer.Exit(_status(roots, console))
    if install_service or uninstall_service:
        raise typer.Exit(_service(roots, console, install=install_service, print_only=print_only))
    if print_only:
        raise UsageError("--print goes with --install-service or --uninstall-service")
    if settings.low_priority:
        program.give_way()
    from denoisetool import formats
    from denoisetool.batch import format_for
    from denoisetool.watch import Options

    wanted = format_for(None, settings.format)
    how = Options(
        recursive=recursive, once=once, settle=settle, poll=poll,
        archive=None if archive is None else _absolute(archive), trash=trash,
        on_done=tuple(_command(on_done)), format=wanted,
        suffixes=() if wanted is None else formats.by_name(wanted).suffixes,
        name=_template(settings.name), overwrite=overwrite, skip_existing=skip_existing,
        idle=unload_after,
    )  # fmt: skip
    raise typer.Exit(_watch(roots, output, how, settings, console, retry_failed=retry_failed))


def make_pipeline(settings: Settings, index: files.Index, announce: Any) -> Pipeline:
    """The worker's pipeline; called in its process."""
    from denoisetool.session import Session, start_event

    session = Session(settings)
    session.announce = lambda choice, entry: announce(start_event(choice, entry, 0))
    return session.pipeline(index)


def _watch(
    roots: list[Path], output: str | None, how: Options, settings: Settings, console: Console,
    *, retry_failed: bool,
) -> int:  # fmt: skip
    """Watch until told to stop; the exit code."""
    from denoisetool.cli.interrupts import interruptible
    from denoisetool.session import Session
    from denoisetool.watch import (
        Folder,
        Ledger,
        Watcher,
        destination,
        held,
        ledger_path,
        output_folder,
    )

    if retry_failed and (done := _retry_running(roots, console)) is not None:
        return done
    for root in roots:
        if not root.is_dir() and not ledger_path(root).exists():
            hint = "check the spelling; a folder that was watched before is waited for"
            raise NoInputError("no such folder", path=root, hint=hint)
    session = Session(settings)
    session.verify()
    how = replace(how, scale=session.scale)
    where = str(_absolute(Path(output))) + "/" if output is not None else None
    with contextlib.ExitStack() as stack:
        watched = []
        for root in roots:
            place = destination(root, where, how)
            stack.enter_context(held(root, output_folder(place)))
            ledger = stack.enter_context(Ledger(ledger_path(root)))
            if retry_failed:
                console.say(f"{root}: {ledger.retry_failed()} that failed wait again")
            watched.append(Folder(root, where, how, ledger))
        interrupts = stack.enter_context(interruptible(quiet=console.quiet))
        watcher = Watcher(
            watched, how, make=partial(make_pipeline, settings), settings=session.fingerprint,
            show=console.show, stop=interrupts.stop,
        )  # fmt: skip
        try:
            summary = watcher.run()
        except KeyboardInterrupt:
            console.say("aborted; finished photos are kept, nothing is half-written")
            summary = watcher.summary()
        if interrupts.signal:
            summary = replace(summary, exit_code=interrupts.exit_code)
        console.show(summary)
        return summary.exit_code


def _retry_running(roots: list[Path], console: Console) -> int | None:
    """Tell running watches to try again what failed; None if none of them runs."""
    from denoisetool.watch import Ledger, ask_to_look, is_held, ledger_path

    running = {root for root in roots if is_held(ledger_path(root))}
    if not running:
        return None
    for root in roots:
        path = ledger_path(root)
        if not path.exists():
            console.say(f"{root}: this folder was never watched")
            continue
        when = "now" if root in running else "when its watch begins"
        with Ledger(path) as ledger:
            console.say(f"{root}: {ledger.retry_failed()} that failed are tried again {when}")
        if root in running:
            ask_to_look(path)
    return 0


def _status(roots: list[Path], console: Console) -> int:
    """Show how watches stand; 1 if one does not run."""
    from denoisetool.watch import status

    found = [status(root) for root in roots]
    for each in found:
        console.show(each)
    return int(not all(each.alive for each in found))


def _service(roots: list[Path], console: Console, *, install: bool, print_only: bool) -> int:
    """Install or remove the service of a watch, or show it."""
    from denoisetool.cli.console import print_line
    from denoisetool.watch import service

    leave = {"--install-service", "--uninstall-service", "--print"}
    words = [word for word in sys.argv[1:] if word not in leave]
    found = service.describe(roots[0], [*program.command(), *words])
    if print_only:
        print_line(f"# {found.path}")
        for line in found.text.splitlines():
            print_line(line)
        for words_to_run in found.on if install else found.off:
            print_line("# " + shlex.join(words_to_run))
    elif install:
        if not roots[0].is_dir():
            raise NoInputError("no such folder", path=roots[0], hint="make it first")
        service.install(found)
        console.say(f"installed {found.path}; its log: {shlex.join(found.look)}")
    elif service.uninstall(found):
        console.say(f"removed {found.path}")
    else:
        console.say(f"there is no service for {roots[0]}")
    return 0


def _absolute(folder: Path) -> Path:
    """A folder by a name that stays true: links are kept, a `~` and a `..` are resolved."""
    folder = folder.expanduser()
    return folder.resolve() if ".." in folder.parts else folder.absolute()


def _command(text: str | None) -> list[str]:
    """The words of a command."""
    if text is None:
        return []
    try:
        words = shlex.split(text, posix=sys.platform != "win32")
    except ValueError as error:
        raise UsageError(f"--on-done {text!r}: {error}") from error
    if not words:
        raise UsageError("--on-done is empty", hint="give a command, or leave it out")
    return words


def _template(name: str | None) -> str | None:
    """A template that can name photos one by one."""
    if name is None:
        return None
    from denoisetool.files import Template

    template = Template.parse(name)
    if not template.has_fields:
        raise UsageError(f"--name {name!r}: every photo would get this name")
    if any(field == "index" for _, field, _ in template.parts):
        what = f"--name {name!r}: {{index}} counts the photos of one run, and a watch has no end"
        raise UsageError(what, hint="use {stem}, {name}, {suffix} or {parent}")
    return name
