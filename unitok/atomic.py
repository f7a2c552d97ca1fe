"""Files whole or not at all: written under another name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write to, with the suffix of `path`; it becomes `path` at the end, and is gone after an error.

    What `path` names stays as it was until then: a link stays a link, and a device or a pipe is
    written directly.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        yield place
        return
    fresh = place.with_name(f".{secrets.token_hex(6)}{place.suffix}")
    try:
        yield fresh
        os.replace(fresh, place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
