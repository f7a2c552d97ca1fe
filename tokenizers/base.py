"""What every tokenizer shares: the folder it is saved as, its fingerprint, batches by loop, the nominal rate.

A folder holds `tokenizer.json` ({"format": 1, "name": ..., "options": {...}, "fingerprint": ...}),
`weights.safetensors` where there are arrays, and any `blobs` (another library's own model file).
Nothing in it is code: the class is found by its registered name, and what was read must have the
fingerprint that was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialize_tensors

from unitok import registry
from unitok.atomic import replacing
from unitok.errors import InputError
from unitok.interfaces import Grammar

FORMAT = 1
DEFAULTS = (
    Path(__file__).parent / "defaults"
)  # shipped folders: NAME, and NAME-VARIANT for more rates
HEADER_FILE, WEIGHTS_FILE = "tokenizer.json", "weights.safetensors"


class BaseTokenizer:
    """Base of the house's tokenizers; satisfies `unitok.interfaces.Tokenizer`.

    A subclass sets `name` (as registered), `modality` and `size`, writes `encode`, `decode`,
    `positions` and `grammar`, and says what it is made of: `options()` (JSON-able; the keywords of its
    constructor), `weights()` (named arrays) and `blobs()` (named files). With weights or blobs it also
    writes `from_parts`. `encode` must be a pure function of those parts and its arguments.
    """

    name: ClassVar[str]
    modality: ClassVar[str]
    size: int

    # ---- what a subclass writes -----------------------------------------------------------

    def encode(
        self, value: Any, context: Any = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} does not define encode")

    def decode(self, ids: np.ndarray, context: Any = None) -> Any:
        raise TypeError(f"{type(self).__name__} does not define decode")

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """A sequence without axes of its own: all three advance together (i, i, i)."""
        return np.repeat(np.arange(len(ids), dtype=np.int32)[:, None], 3, axis=1)

    def code_vectors(self) -> np.ndarray | None:
        """What each code stands for, float32 [size, d], rows of NaN for codes that are no vector; None where
        codes are mere names. Codes with like vectors begin training with like embeddings."""
        return None

    def grammar(self, *args: Any, **request: Any) -> Grammar:
        raise TypeError(f"{type(self).__name__} does not define grammar")

    def options(self) -> dict[str, Any]:
        """JSON-able keywords from which `from_parts` rebuilds this tokenizer."""
        return {}

    def weights(self) -> dict[str, np.ndarray]:
        return {}

    def blobs(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_parts(
        cls,
        options: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        blobs: Mapping[str, bytes],
    ) -> Self:
        return cls(**options)

    @classmethod
    def build(cls, variant: str | None = None, **options: Any) -> Self:
        """Ready to use: the shipped folder `defaults/NAME`, or `defaults/NAME-VARIANT`, unless options are given.

        Raises ValueError for a variant that does not ship, or one together with options.
        """
        if variant is not None:
            if options:
                raise ValueError(f"{cls.name}: variant {variant!r} is fitted; it takes no options")
            if variant not in cls.variants():
                there = ", ".join(cls.variants()) or "none"
                raise ValueError(f"{cls.name}: no variant {variant!r} ships; there are: {there}")
            return cls.load(DEFAULTS / f"{cls.name}-{variant}")
        if not options and (DEFAULTS / cls.name / HEADER_FILE).is_file():
            return cls.load(DEFAULTS / cls.name)
        return cls(**options)

    @classmethod
    def variants(cls) -> list[str]:
        """The names of the other shipped weights (another rate, say) that `build(variant=...)` takes."""
        folders = sorted(DEFAULTS.glob(f"{cls.name}-*"))
        return [f.name.removeprefix(f"{cls.name}-") for f in folders if (f / HEADER_FILE).is_file()]

    # ---- what every tokenizer then has ----------------------------------------------------

    def encode_batch(self, values: Sequence[Any]) -> list[np.ndarray]:
        return [self.encode(value) for value in values]

    def decode_batch(self, ids: Sequence[np.ndarray]) -> list[Any]:
        return [self.decode(one) for one in ids]

    def bits_per_item(self, value: Any) -> float:
        """Nominal rate: number of codes times log2 of the number of codes there are."""
        return len(self.encode(value)) * float(np.log2(self.size))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over name, options, weights and blobs."""
        return fingerprint_of(self.name, self.options(), self.weights(), self.blobs())

    def check_ids(self, ids: Any) -> np.ndarray:
        """ids as int32 [n]. Raises ValueError unless they are integers in 0..size-1."""
        array = np.asarray(ids)
        if array.size == 0:
            return np.zeros(0, np.int32)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{self.name}: want integer codes [n], got {array.dtype} {list(array.shape)}"
            )
        if int(array.min()) < 0 or int(array.max()) >= self.size:
            wrong = int(array.max()) if int(array.min()) >= 0 else int(array.min())
            raise ValueError(f"{self.name}: code {wrong} is outside 0..{self.size - 1}")
        return array.astype(np.int32, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, fingerprint={self.fingerprint})"

    # ---- the folder -----------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the folder; tokenizer.json last, so that a half-written folder is not taken for one."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        weights, blobs = self.weights(), self.blobs()
        header = {
            "format": FORMAT,
            "name": self.name,
            "options": self.options(),
            "fingerprint": self.fingerprint,
            "files": sorted(blobs),
        }
        for file, content in blobs.items():
            _write(folder / file, content)
        if weights:
            _write(folder / WEIGHTS_FILE, serialize_tensors(_contiguous(weights)))
        _write(folder / HEADER_FILE, (json.dumps(header, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a folder. Raises FileNotFoundError or InputError naming the file and the remedy."""
        header = registry.read_header(path)
        file = Path(path) / HEADER_FILE
        if header["name"] != cls.name:
            raise InputError(
                f"{file}: a {header['name']!r} tokenizer, not {cls.name!r}; "
                "load it with unitok.tokenizers.load"
            )
        if header.get("format") != FORMAT:
            raise InputError(
                f"{file}: format {header.get('format')!r}, this version reads {FORMAT}; fit it again"
            )
        weights, blobs = _read_weights(Path(path)), _read_blobs(Path(path), header)
        try:
            tokenizer = cls.from_parts(header.get("options", {}), weights, blobs)
            found = tokenizer.fingerprint
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{file}: cannot be rebuilt ({error}); copy or fit the tokenizer again"
            ) from None
        if found != header.get("fingerprint"):
            raise InputError(
                f"{file}: fingerprint {header.get('fingerprint')!r} in the header, {found!r} in the "
                "content; a file of the folder was changed: copy or fit the tokenizer again"
            )
        return tokenizer


def fingerprint_of(
    name: str,
    options: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    blobs: Mapping[str, bytes],
) -> str:
    """SHA-256 (16 hex digits) over the header's content, the arrays (dtype, shape, little-endian bytes), the blobs."""
    digest = hashlib.sha256(json.dumps([name, options], sort_keys=True).encode())
    for key, array in sorted(_contiguous(weights).items()):
        digest.update(f"\0{key} {array.dtype.name} {list(array.shape)}\0".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    for key, content in sorted(blobs.items()):
        digest.update(f"\0{key} {len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _contiguous(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # safetensors writes the buffer as it lies: a transposed view would come back scrambled
    return {key: np.asarray(array, order="C") for key, array in weights.items()}


def _write(file: Path, content: bytes) -> None:
    with replacing(file) as fresh:
        fresh.write_bytes(content)


def _read_weights(folder: Path) -> dict[str, np.ndarray]:
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        return {}
    try:
        return parse_tensors(file.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{file}: damaged ({error}); copy or fit the tokenizer again") from None


def _read_blobs(folder: Path, header: Mapping[str, Any]) -> dict[str, bytes]:
    blobs = {}
    for name in header.get("files", []):
        file = folder / str(name)
        if file.parent != folder or not file.is_file():  # a name with a path in it reaches nowhere
            raise InputError(f"{file}: not found; copy or fit the tokenizer again")
        blobs[str(name)] = file.read_bytes()
    return blobs
