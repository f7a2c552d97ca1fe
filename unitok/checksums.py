"""The manifest of a folder: its files' sizes and SHA-256, and what belongs to them, under its own SHA-256.

Written last, so that a folder with a manifest is whole; one flipped bit anywhere in it is noticed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unitok.run import sync_folder, write_json

MANIFEST = "manifest.json"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Seal the folder: `content` (JSON-able) and the checksum of every file there, durably."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    sums = {p.relative_to(folder).as_posix(): (p.stat().st_size, _sha256(p)) for p in files}
    manifest = {**content, "files": sums}
    write_json(folder / MANIFEST, manifest | {"sha256": _digest(manifest)})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where it is missing or does not match its own checksum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        checksum = manifest.pop("sha256")
        return manifest if checksum == _digest(manifest) else None
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None: every file there, of its size, with its SHA-256."""
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing or does not match its own checksum"
    for name, (size, checksum) in manifest["files"].items():
        file = folder / name
        try:
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            if _sha256(file) != checksum:
                return f"{name} does not match its checksum"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def remove(folder: Path) -> None:
    """The manifest first, so that a half-removed folder does not count as whole."""
    if folder.is_dir():
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
