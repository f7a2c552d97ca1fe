"""Codes of learned tokenizers, encoded once and kept on disk, keyed by fingerprint and source.

One .npz a (tokenizer, source, field): codes int32 [all], offsets int64 [N + 1], and a header that says
whose they are. A file that is damaged, or is another tokenizer's or another source's, is never used:
it is written anew, under a temporary name first, so that a reader sees a whole file or none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from unitok.atomic import replacing
from unitok.data.sources import Records
from unitok.interfaces import Source, Tokenizer

BATCH = 256  # values encoded at a time
FORMAT = 1
log = logging.getLogger("unitok.data")


class CodeTable:
    """Local codes of every record of a source: table[i] is int32 [n]."""

    def __init__(self, codes: np.ndarray, offsets: np.ndarray) -> None:
        self.codes, self.offsets = codes, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.codes[self.offsets[index] : self.offsets[index + 1]]


def is_learned(tokenizer: Tokenizer) -> bool:
    """Whether encoding runs a network: the tokenizer has weight arrays. Its codes are worth keeping."""
    weights = getattr(tokenizer, "weights", None)
    return callable(weights) and bool(weights())


def codes_of(
    tokenizer: Tokenizer, source: Source, field: str, folder: str | Path | None
) -> CodeTable:
    """The codes of `field` for every record, from the cache if they are there, else encoded and kept.

    Sources without an `identity` are encoded and kept in memory alone. Raises OSError where the folder
    cannot be written.
    """
    identity = getattr(source, "identity", None)
    header = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "source": identity,
        "field": field,
        "records": len(source),
    }
    if folder is None or identity is None:
        return encode_all(tokenizer, source, field)
    key = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()[:24]
    path = Path(folder) / f"codes-{key}.npz"
    table = read_table(path, header, tokenizer.size)
    if table is None:
        table = encode_all(tokenizer, source, field)
        write_table(path, header, table)
    return table


def encode_all(tokenizer: Tokenizer, source: Source, field: str) -> CodeTable:
    """Encode a field of every record, in batches; one value that many records share (a picture with ten
    questions) is encoded once, where the source knows (`alike`)."""
    alike = source.alike(field) if isinstance(source, Records) else None
    first = np.arange(len(source)) if alike is None else alike
    chosen = np.unique(first)
    log.info("tokenizing %d values of %r", len(chosen), field)
    made: list[np.ndarray] = []
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH].tolist()
        made += tokenizer.encode_batch([source[i][field] for i in part])
    codes = [made[place] for place in np.searchsorted(chosen, first)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in codes])]).astype(np.int64)
    joined = np.concatenate(codes) if codes else np.zeros(0)
    return CodeTable(joined.astype(np.int32), offsets)


def read_table(path: Path, header: dict[str, Any], size: int) -> CodeTable | None:
    """The table of a file, or None where there is none that is whole and is `header`'s."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:  # zip checksums catch flipped bits
            found = json.loads(archive["header"].tobytes().decode())
            codes, offsets = archive["codes"], archive["offsets"]
        sound = (
            found == header
            and codes.dtype == np.int32
            and offsets.shape == (header["records"] + 1,)
            and offsets[0] == 0
            and offsets[-1] == len(codes)
            and bool((np.diff(offsets) >= 0).all())
            and (not codes.size or 0 <= int(codes.min()) <= int(codes.max()) < size)
        )
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, EOFError, TypeError,
            NotImplementedError, IndexError) as error:  # fmt: skip
        log.warning("%s: damaged (%s); tokenizing again", path, error)
        return None
    if not sound:
        log.warning("%s: not the codes of this tokenizer and source; tokenizing again", path)
        return None
    return CodeTable(codes, offsets)


def write_table(path: Path, header: dict[str, Any], table: CodeTable) -> None:
    """Write a table whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh, open(fresh, "wb") as file:
        np.savez(
            file,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            codes=table.codes,
            offsets=table.offsets,
        )
        file.flush()
        os.fsync(file.fileno())
