"""How a command ends: one line on stderr that names the thing and the remedy, and an exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator

PATH_ERRORS = (
    FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError,
)  # fmt: skip


class InputError(ValueError):
    """Wrong usage or input (exit code 2): the message names the file or field and the remedy."""


class RunError(RuntimeError):
    """Failed while running (exit code 1): the message says what is safe and what to do."""


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps off stderr what C libraries write there themselves (libmpg123 does, of damaged files).

    In the main thread alone, where commands read their files: the file descriptor is the process's, and
    threads that swap it at once would lose it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # closed by who started us: nothing to keep quiet
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def command(main: Callable[[list[str]], int]) -> Callable[..., int]:
    """Decorate a command's main: expected errors become one line and an exit code, never a traceback."""

    @functools.wraps(main)
    def wrapped(argv: list[str] | None = None) -> int:
        from unitok.config import ConfigError
        from unitok.values import ValueRefused
        from unitok.vocabulary import VocabularyMismatch

        argv = sys.argv[1:] if argv is None else argv
        try:
            return main(argv)
        except (
            InputError,
            ConfigError,
            ValueRefused,
            VocabularyMismatch,
        ) as error:
            code, text = 2, str(error)
        except RunError as error:
            code, text = 1, str(error)
        except KeyboardInterrupt:
            code, text = (
                130,
                "interrupted; run the same command again to go on from the newest checkpoint",
            )
        except BrokenPipeError:  # who read our output has left, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # what the shell reports of a program that SIGPIPE ended
        except OSError as error:  # a path that cannot be made or read, a disk that is full
            code = 2 if isinstance(error, PATH_ERRORS) else 1
            text = f"{error.filename or 'system'}: {error.strerror or error}"
        print(f"unitok: {' '.join(text.split())}", file=sys.stderr)
        return code

    return wrapped
