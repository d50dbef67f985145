"""Processes that make stages side by side, each with threads of its own.

They are forked where that is safe, and then begin at once and know the stages as they are. Elsewhere they are started
anew, and find the stages by a function that can be sent to them:

* macOS and Windows: libraries of the system do not take a fork, or there is none;
* with an accelerator, whose driver does not;
* where this process may have used several threads of OpenMP, and the others are to: GNU's waits for ever after a fork.
"""

from __future__ import annotations

import builtins
import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from genrlhf import errors
from genrlhf.errors import CheckpointError, ConfigError, GenRLHFError
from genrlhf.studies.devices import shown
from genrlhf.studies.folder import InUseError, StudyFolder
from genrlhf.studies.graph import Graph
from genrlhf.studies.launching import Launcher
from genrlhf.studies.making import Maker

__all__ = ["Worker", "end_all", "keep_to_one_thread", "threads_for"]

_PATIENCE = 20.0
"""Seconds that a process has to let go of what it holds."""


def threads_for(jobs: int) -> int:
    """Return the threads of each of several processes: those that this one has, divided among them."""
    torch = sys.modules.get("torch")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (processors if torch is None else torch.get_num_threads()) // jobs)


def keep_to_one_thread() -> int:
    """Have this process compute with one thread from now on, so that it can be forked; return how many it had."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return threads


class Worker:
    """A process that makes one stage after the other, as it is told.

    Args:
        places: where the stages lie.
        launcher: makes the stages that are `launched`, in processes of its own.
        threads: of the process.
        remake: returns the graph once more, for a process that is not forked; it is sent there.
        devices: the GPUs that it sees, by their names; None for all.
        beside: the other processes, which a fork would keep from seeing that this one is gone.

    Raises:
        ConfigError: where the process cannot be forked, and `remake` is missing or cannot be sent.
    """

    def __init__(
        self,
        places: StudyFolder,
        launcher: Launcher | None,
        threads: int,
        remake: Callable[[], Graph] | None,
        *,
        devices: Sequence[str] | None = None,
        beside: Sequence[Worker] = (),
    ) -> None:
        self.stage: str | None = None
        forked = _can_fork(threads)
        given: Any = places
        if not forked:
            given = (places.folder, remake)
            _check_sent(given)
        context: Any = multiprocessing.get_context("fork" if forked else "spawn")
        self.connection, theirs = context.Pipe()
        ours = [self.connection, *(other.connection for other in beside)] if forked else []
        to_errors = sys.stdout is sys.stderr
        self.process = context.Process(
            target=_work, args=(os.getpid(), theirs, ours, given, launcher, threads, to_errors)
        )
        with warnings.catch_warnings(), _no_interrupt(forked), shown(devices):
            # Of a fork beside threads: those that there are end before it, or are not used after it.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def make(self, stage: str) -> None:
        """Have it make a stage."""
        self.stage = stage
        self.connection.send(stage)

    def told(self) -> tuple[str, Any]:
        """Return what it tells next: ("said", a line), ("made", seconds or None), ("busy", why) or ("failed", error).

        A process that is gone has failed.
        """
        try:
            what, told = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_PATIENCE)
            return "failed", CheckpointError(
                f"{self.stage or 'a stage'}: its process {_ending(self.process.exitcode)}; what was made is kept, and "
                "the same command goes on from there, with fewer --jobs in less memory."
            )
        if what == "failed":
            return what, _raised(*told)
        return what, told


def end_all(workers: list[Worker]) -> None:
    """Have processes end as Ctrl-C would, wait for them, and end those that do not."""
    for worker in workers:
        worker.connection.close()
        if worker.stage is not None and worker.process.is_alive():
            if sys.platform == "win32":
                worker.process.terminate()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid or 0, signal.SIGINT)
    end = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


def _can_fork(threads: int) -> bool:
    if sys.platform != "linux":
        return False
    torch = sys.modules.get("torch")
    if torch is None:
        return True
    if torch.cuda.is_available() or getattr(torch, "accelerator", torch.cuda).is_available():
        return False
    return threads == 1 or bool(torch.get_num_threads() == 1)


@contextlib.contextmanager
def _no_interrupt(forked: bool) -> Iterator[None]:
    """Have a process that is started anew take no notice of Ctrl-C until it has loaded what handles it."""
    if forked or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _check_sent(given: tuple[Path, Any]) -> None:
    reason = "they are not said to be made by a function"
    if given[1] is not None:
        try:
            pickle.dumps(given)
            return
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            reason = str(error)
    raise ConfigError(
        f"The stages cannot be sent to other processes ({reason}); leave jobs at 1, or describe the study by a YAML "
        "file or by objects at the top of modules."
    )


def _work(
    parent: int,
    connection: Connection,
    ours: Sequence[Connection],
    given: Any,
    launcher: Launcher | None,
    threads: int,
    to_errors: bool,
) -> None:
    """Make stages until there is no more to make; in the process itself."""
    signal.signal(signal.SIGINT, _stop)
    for theirs in ours:
        theirs.close()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of processes that a stage starts
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # which would not be used after a fork, with a warning
    if to_errors:
        sys.stdout = sys.stderr
    one_at_a_time = threading.Lock()

    def tell(what: str, told: Any) -> None:
        with one_at_a_time:
            connection.send((what, told))

    try:
        places = given
        if not isinstance(given, StudyFolder):
            folder, remake = given
            places = StudyFolder(folder, remake())
        maker = Maker(places, launcher, lambda said: tell("said", said))
        while True:
            stage = connection.recv()
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(threads)
            tell(*_made(maker, stage))
    except (EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        return  # nobody listens any more
    except BaseException as error:
        with contextlib.suppress(OSError):
            tell("failed", _told(error))


def _made(maker: Maker, stage: str) -> tuple[str, Any]:
    try:
        return "made", maker(maker.places.graph[stage])
    except InUseError as error:
        return "busy", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "failed", _told(error)


def _stop(signum: int, frame: Any) -> None:
    """Stop, once: what is let go of then is not to be stopped in the middle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _watch(parent: int) -> None:
    """End this process where the one that started it is gone, however that has ended."""
    starter = multiprocessing.parent_process()
    while os.getppid() == parent and (starter is None or starter.is_alive()):
        time.sleep(0.5)
    if sys.platform != "win32":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_PATIENCE)
    os._exit(1)


class _WorkerError(Exception):
    """Where an error of another process was raised."""


def _told(error: BaseException) -> tuple[str, str, str]:
    """Return what is sent of an error: the nearest class that both processes know, what it says, and where it was."""
    known = (kind for kind in type(error).__mro__ if _known(kind.__name__) is kind)
    kind = next(known).__name__
    said = str(error) if kind == type(error).__name__ else f"{type(error).__name__}: {error}"
    return kind, said, "".join(traceback.format_exception(error))


def _known(name: str) -> Any:
    return getattr(errors, name, getattr(builtins, name, None))


def _raised(kind: str, said: str, where: str) -> BaseException:
    """Return the error that `_told` is of, as text: nothing that was sent runs code."""
    error: BaseException
    try:
        error = _known(kind)(said)
    except TypeError:  # one that wants more than a text
        error = RuntimeError(f"{kind}: {said}")
    if not isinstance(error, GenRLHFError):
        error.__cause__ = _WorkerError(f"\n{where}")
    return error


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
