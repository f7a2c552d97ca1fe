"""Reading no more than a file may hold: sizes are checked before anything is decoded.

Every function raises InputError naming the file and the remedy, never anything else.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from unitok.data import archives
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
    """The path of a file that is there: on disk, or in a zip archive (`a.zip!member`)."""
    path = Path(path)
    inside = archives.split_path(path)
    if inside is not None:
        if not archives.has_member(*inside):
            raise InputError(f"{path}: no such file in the archive; check the path")
        return path
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


def opened(path: str | Path, limit: int = MAX_BYTES) -> str | IO[bytes]:
    """What a decoder opens: the path on disk as it is, or the bytes of an archive's member."""
    return str(path) if archives.split_path(path) is None else io.BytesIO(read_bytes(path, limit))


def unpacked(path: Path, limit: int = MAX_BYTES) -> int:
    """How many bytes a compressed file may hold."""
    return min(limit, max(SMALL, MAX_RATIO * path.stat().st_size))


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """A file's bytes, decompressed where it ends in .gz; at most `limit`."""
    path = existing(path)
    inside = archives.split_path(path)
    try:
        if inside is not None:
            packed: Any = io.BytesIO(archives.read_member(*inside, limit, SMALL, MAX_RATIO))
            if path.suffix != ".gz":
                return packed.getvalue()
            limit = min(limit, max(SMALL, MAX_RATIO * len(packed.getvalue())))
        elif path.suffix != ".gz":
            if path.stat().st_size > limit:
                raise InputError(
                    f"{path}: {path.stat().st_size} bytes, more than {limit}; split it"
                )
            return path.read_bytes()
        else:
            packed, limit = path, unpacked(path, limit)
        with gzip.open(packed) as file:
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
        if archives.split_path(path) is not None:
            return np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        # a memory map reads the header alone, and fails where the file is shorter than it claims
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.nbytes > MAX_BYTES:
            raise ValueError("no array, or one of more than 1 GiB")
        return np.array(array)
    except (ValueError, OSError, EOFError, OverflowError, SyntaxError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable .npy array ({str(error)[:120]}); write it with numpy.save"
        ) from None
