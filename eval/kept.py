"""Results on disk, each under the identity of all that it depends on: what is finished is not made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unitok.run import write_json

FORMAT = 4  # of the results; others are made again


def digest(*parts: Any) -> str:
    """32 hex digits of the parts, which have to be what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def kept(file: Path, identity: Any, make: Callable[[], Any]) -> Any:
    """What `file` holds under this identity, None included; else what `make` gives, kept there."""
    key = digest(FORMAT, identity)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["identity"] == key:
            return stored["result"]
    result = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"identity": key, "result": result})
    return result
