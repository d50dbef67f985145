"""What all commands have: how they are declared, what is checked before they work, and how they end."""

from __future__ import annotations

import argparse
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from genrlhf.cli.terminal import guarded_streams, say
from genrlhf.errors import ConfigError, GenRLHFError, printable
from genrlhf.launchers import be_alone, number_of_this_process, started_processes

__all__ = ["Parser", "add_command", "execute", "run_to_the_end", "seed", "short_usage"]

Namespace = argparse.Namespace

_TURN = 5.0
"""Seconds that the first process of a launcher has to itself to say what is wrong."""


class Parser(argparse.ArgumentParser):
    """A parser that tells wrong usage in one line, and whose usage names what must be given alone."""

    def format_help(self) -> str:
        """Return the help, as wide as the terminal: argparse does not break what one option can be."""
        self.usage = self.usage or short_usage(self)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        _wait_for_turn()
        self.exit(2, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


def short_usage(parser: argparse.ArgumentParser) -> str:
    """Return the usage of a parser with what must be given alone."""
    words = ["%(prog)s", "[options]"]
    for action in parser._actions:
        name = str(action.metavar or action.dest.upper())
        if action.option_strings:
            words += [f"{action.option_strings[0]} {name}"] if action.required else []
        else:
            words.append({"?": f"[{name}]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name))
    return " ".join(words) + (" ..." if parser._subparsers else "")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[Namespace], int],
    *,
    help: str,
    description: str,
    seed: str | None = None,
    output: str | None = None,
    default_output: str | None = None,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    folders: Sequence[str] = (),
    kept: Callable[[Namespace], str | None] | None = None,
    together: bool = False,
) -> Parser:
    """Add a command with the options that commands share, and return its parser for the others.

    Args:
        commands: what `add_subparsers` returned.
        name: of the command.
        run: does the work and returns the exit status.
        help: in one line.
        description: in some.
        seed: what the seed is of; without it, there is no `--seed`.
        output: what goes to `--output`; without it, there is none.
        default_output: of `--output`, which must be given where this is None.
        reads: the arguments that are files to be read.
        writes: those, beside `--output`, that are files to be written; they are tried before `run`, and must not be
            among the files that are read.
        folders: those that are folders to be written.
        kept: says what is kept of a run that was interrupted, and how to go on; without it, or where it says nothing,
            the files are named that had been written.
        together: whether the processes of a launcher share its work. Otherwise one does it, and the others leave, or
            all would write the same files.
    """
    shared = _shared_options(seed_of=seed, output=output, default_output=default_output)
    parser: Parser = commands.add_parser(name, parents=[shared], help=help, description=description)
    written = (*(["output"] if output else []), *writes)
    parser.set_defaults(
        parser=parser,
        run=run,
        reads=tuple(reads),
        writes=written,
        folders=tuple(folders),
        kept=kept,
        together=together,
    )
    return parser


def _shared_options(*, seed_of: str | None, output: str | None, default_output: str | None) -> Parser:
    parent = Parser(add_help=False)
    if output:
        default = "" if default_output is None else " (default: %(default)s)"
        parent.add_argument(
            "--output",
            metavar="FILE",
            default=default_output,
            required=default_output is None,
            help=f"{output}{default}",
        )
    if seed_of:
        parent.add_argument("--seed", type=seed, metavar="N", default=0, help=f"{seed_of} (default: %(default)s)")
    parent.add_argument("--json", action="store_true", help="print one JSON object, and nothing else")
    return parent


LARGEST_SEED = 2**32 - 1
"""The largest seed that numpy's older generators take."""


def seed(text: str) -> int:
    """Return a seed that every generator takes, of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {LARGEST_SEED}, not {text[:40]!r}")
    return number


def run_to_the_end(parser: Parser, argv: Sequence[str]) -> int:
    """Parse and run a command, and turn whatever ends it into an exit status and at most one line."""
    args: Namespace | None = None
    before: dict[Path, Any] = {}
    try:
        with guarded_streams():
            try:
                args, further = parser.parse_known_args(argv)
                if further:
                    args.parser.error(f"unrecognized arguments: {' '.join(further)}")
                if not args.together and _is_left_to_another(args.parser.prog):
                    return 0
                _check_homes(args)
                before = _written(args)
                return execute(args)
            except GenRLHFError as error:
                _say_in_turn(error)
            except OSError as error:
                _say_in_turn(_told(error))
            except sqlite3.DatabaseError as error:
                _say_in_turn(f"a file of ours cannot be used ({error}); move it, or name another.")
            except KeyboardInterrupt:
                say(f"stopped; {_kept(args, before)}")
                return 130
            return 1
    except OSError as error:
        # Standard output itself.
        with guarded_streams():
            say(_told(error))
        return 1


def _say_in_turn(what: object) -> None:
    _wait_for_turn()
    say(what)


def _wait_for_turn() -> None:
    """Let the first process of a launcher say what is wrong: where all find the same, the launcher ends the others."""
    if number_of_this_process() > 0:
        time.sleep(_TURN)


def _is_left_to_another(command: str) -> bool:
    """Say whether this process of a launcher leaves a command to another one; the first does it, alone."""
    if (processes := started_processes()) == 1:
        return False
    if number_of_this_process() > 0:
        return True
    say(f"{command} works in one process; of the {processes} of the launcher, the others have left.")
    be_alone()
    return False


def execute(args: Namespace) -> int:
    """Check what can be checked before the work, and do it."""
    _check_targets(args)
    status: int = args.run(args)
    return status


def _kept(args: Namespace | None, before: Mapping[Path, Any]) -> str:
    """Return what a run that was interrupted has left, and how to go on."""
    if args is None:
        return "nothing was written."
    # A command's own words are made of what lies on disk, which can be in any state.
    with suppress(Exception):
        if args.kept is not None and (words := args.kept(args)):
            return str(words)
    written = [str(path) for path, state in _written(args).items() if state is not None and state != before.get(path)]
    return f"{', '.join(written)} had been written." if written else "nothing was written."


def _written(args: Namespace) -> dict[Path, Any]:
    """Return the state on disk of the files that a command writes."""
    states: dict[Path, Any] = {}
    for name in args.writes:
        if target := getattr(args, name):
            path = Path(target).expanduser()
            states[path] = None
            with suppress(OSError, ValueError):
                state = path.stat()
                states[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return states


_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def _told(error: OSError) -> str:
    """Return an error of the operating system, or of what speaks to it, as one line."""
    if error.errno is None or error.strerror is None:
        # Libraries raise OSError with words of their own, over several lines.
        words = " ".join(str(error).split()) or type(error).__name__
        return words if len(words) <= 500 else words[:499] + "…"
    remedy = "choose another place, or make room" if error.errno in _NO_ROOM else "name another file"
    if error.filename is None:
        return f"{error.strerror}; {remedy}."
    return f"{os.fsdecode(error.filename)}: {error.strerror}; {remedy}."


def _check_targets(args: Namespace) -> None:
    """Raise `ConfigError` where a file that is to be written cannot be, or is among those that are read."""
    given = [file for name in args.reads for file in _files(getattr(args, name))]
    read = [Path(file).expanduser() for file in given if file != "-"]
    if given.count("-") > 1:
        raise ConfigError("Standard input (-) can be read once; give files for the others.")
    if "-" in given and started_processes() > 1:
        raise ConfigError("Standard input (-) cannot be read by several processes; give a file.")
    seen: dict[Path, str] = {}
    for name in (*args.writes, *args.folders):
        target = getattr(args, name)
        if target is None:
            continue
        option = f"--{name.replace('_', '-')} {target}"
        if not target:
            raise ConfigError(f"{option}names nothing; give the path of a file.")
        path = Path(target).expanduser()
        try:
            if any(_same(path, other) for other in read):
                raise ConfigError(f"{option} is one of the files to be read; name another.")
            if path.resolve() in seen:
                raise ConfigError(f"{option} is what {seen[path.resolve()]} names; name another.")
            seen[path.resolve()] = option.split(" ")[0]
            _try(path, option, folder=name in args.folders)
        except ConfigError:
            raise
        except OSError as error:
            raise ConfigError(f"{option} cannot be written ({error.strerror}); name another.") from error
        except ValueError as error:
            raise ConfigError(f"{option} cannot be written ({error}); name another.") from error


def _check_homes(args: Namespace) -> None:
    """Raise `ConfigError` for a file in the home of nobody, such as ~tpyo/outputs.jsonl."""
    for name in (*args.reads, *args.writes, *args.folders):
        for file in _files(getattr(args, name)):
            try:
                Path(file).expanduser()
            except RuntimeError:
                raise ConfigError(f"{file} is in the folder of a user that there is not; name another.") from None


def _files(given: Any) -> list[str]:
    """Return the files that an argument names, `NAME=FILE` included."""
    texts = [given] if isinstance(given, str) else list(given or ())
    return [part for text in texts for part in (text, text.partition("=")[2]) if part]


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _try(path: Path, option: str, *, folder: bool) -> None:
    """Raise where `path` cannot be written."""
    if path.exists():
        if folder != path.is_dir():
            raise ConfigError(f"{option} is {'a folder' if path.is_dir() else 'a file'}; name another.")
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not (folder or path.is_file()):
            return  # a device or a pipe, which is not for us to try
    place = path if folder else path.parent
    missing = [path.name]
    while not place.exists():
        missing.append(place.name)
        place = place.parent
    for name in missing:
        with suppress(FileNotFoundError):
            (place / name).lstat()
    # What is written appears under a longer name first.
    trial = place / (f".{path.name}.{os.getpid()}.part" if place == path.parent else f".genrlhf.{os.getpid()}.part")
    try:
        trial.touch()
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
