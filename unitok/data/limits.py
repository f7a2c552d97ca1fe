"""Reading no more than a file may hold: sizes are checked before anything is decoded.

Every function raises InputError naming the file and the remedy, never anything else.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from unitok.errors import InputError

MAX_BYTES = 1 << 30  # of one file once decompressed
MAX_TEXT_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
MAX_SAMPLES = 1 << 26  # of one recording, all channels: 70 minutes of 16 kHz mono
MAX_LINE = 16 << 20
MAX_RATIO, SMALL = (
    200,
    16 << 20,
)  # what unpacks to 200 times its size, and more than 16 MiB, is a bomb


def existing(path: str | Path) -> Path:
    """The path of a file that is there."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "not found"
        raise InputError(f"{path}: {what}; check the path")
    return path


def expand(path: str) -> str:
    """`path` with ${NAME} and ~ filled in; an unset variable is refused."""
    expanded = os.path.expanduser(os.path.expandvars(path))
    if "${" in expanded:
        name = expanded.split("${", 1)[1].split("}", 1)[0]
        raise InputError(f"{path}: the environment variable {name} is not set; set it to a folder")
    return expanded


def unpacked(path: Path, limit: int = MAX_BYTES) -> int:
    """How many bytes a compressed file may hold."""
    return min(limit, max(SMALL, MAX_RATIO * path.stat().st_size))


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """A file's bytes, decompressed where it ends in .gz; at most `limit`."""
    path = existing(path)
    try:
        if path.suffix != ".gz":
            if path.stat().st_size > limit:
                raise InputError(
                    f"{path}: {path.stat().st_size} bytes, more than {limit}; split it"
                )
            return path.read_bytes()
        limit = unpacked(path, limit)
        with gzip.open(path) as file:
            content = file.read(limit + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: corrupt gzip ({error}); download it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) > limit:
        raise InputError(f"{path}: more than {limit} bytes once decompressed; split it")
    return content


def read_text(path: str | Path, limit: int = MAX_BYTES) -> str:
    """UTF-8 text of a plain or gzipped file, line ends as they are."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from None


def read_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy file: no objects, and no larger than the file itself says and is."""
    path = existing(path)
    try:
        # a memory map reads the header alone, and fails where the file is shorter than it claims
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.nbytes > MAX_BYTES:
            raise ValueError("no array, or one of more than 1 GiB")
        return np.array(array)
    except (ValueError, OSError, EOFError, OverflowError, SyntaxError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable .npy array ({str(error)[:120]}); write it with numpy.save"
        ) from None
