"""Files inside zip archives, read in place: a path `sounds.zip!recordings/7_theo_3.wav` names a member.

Nothing is unpacked to disk. Sizes are taken from the directory of the archive before a byte is
decompressed, and checked again while it is. Every function raises InputError naming the file.
"""

from __future__ import annotations

import functools
import glob
import re
import zipfile
import zlib
from pathlib import Path

from unitok.errors import InputError

MARK = ".zip!"
MAX_MEMBERS = 1_000_000


def split_path(path: str | Path) -> tuple[Path, str] | None:
    """(archive, member) of a path into an archive, None for any other path."""
    text = str(path)
    at = text.lower().find(MARK)
    return None if at < 0 else (Path(text[: at + 4]), text[at + len(MARK) :])


def open_archive(path: Path) -> zipfile.ZipFile:
    """The archive, its directory read once as long as the file stays the same."""
    if not path.is_file():
        raise InputError(f"{path}: not found; check the path")
    return _opened(str(path), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _opened(path: str, changed: int) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable zip ({error}); download it again") from None
    if len(archive.filelist) > MAX_MEMBERS:
        raise InputError(f"{path}: more than {MAX_MEMBERS} files; split it")
    return archive


def has_member(path: Path, member: str) -> bool:
    """Whether the archive holds a file of this name."""
    return member in open_archive(path).NameToInfo and not member.endswith("/")


def read_member(path: Path, member: str, limit: int, small: int, ratio: int) -> bytes:
    """A member's bytes: at most `limit`, and at most `ratio` times its packed size once above `small`."""
    archive, name = open_archive(path), f"{path}!{member}"
    if not has_member(path, member):
        raise InputError(f"{name}: no such file in the archive; check the path")
    info = archive.getinfo(member)
    most = min(limit, max(small, ratio * info.compress_size))
    if info.file_size > most:
        raise InputError(f"{name}: {info.file_size} bytes once decompressed; split it")
    try:
        with archive.open(info) as file:
            content = file.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError: encrypted; NotImplementedError (a RuntimeError): another method
        raise InputError(f"{name}: cannot be read ({str(error)[:120]})") from None
    if len(content) > most:
        raise InputError(f"{name}: more than {most} bytes once decompressed; split it")
    return content


def matching(pattern: str) -> list[str]:
    """Paths of the files that a pattern stands for, in order: * and ? within a folder, ** across folders.

    In an archive too (`a.zip!wavs/*.wav`). A path without them stands for itself.
    """
    if not any(mark in pattern for mark in "*?"):
        return [pattern]
    inside = split_path(pattern)
    if inside is None:
        return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    archive, members = inside
    wanted = _pattern(members)
    names = sorted(open_archive(archive).namelist())
    return [f"{archive}!{name}" for name in names if wanted.fullmatch(name) and name[-1] != "/"]


def _pattern(text: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces))
