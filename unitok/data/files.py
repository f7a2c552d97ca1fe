"""One file <-> one value, by modality and extension; hostile files cost one clear line.

image   png jpg jpeg webp bmp gif (first frame); alpha is laid on white, 16 bit scaled to 8
audio   wav flac ogg mp3: channels averaged to mono, the rate kept
series  csv tsv (columns that are no numbers, such as dates, are left out), npy, parquet (extra `parquet`)
graph   edge list, GraphML, sparse6, SMILES: see `unitok.data.graphs`
coord   json {"coords": [[y0, x0, y1, x1], ...], "labels": [...]}
text    any file of UTF-8
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from unitok.atomic import replacing
from unitok.data import limits, parquet
from unitok.errors import InputError, quiet_libraries
from unitok.values import Audio, Boxes, Graph, Image, Series, ValueRefused

IMAGE_FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
}  # fmt: skip
AUDIO_FORMATS = (".wav", ".flac", ".ogg", ".mp3")
WRITTEN = {
    "image": tuple(IMAGE_FORMATS),
    "audio": AUDIO_FORMATS,
    "series": (".csv", ".tsv", ".npy"),
}
MAX_COLUMNS = 4096
MAX_CSV_LINE = 1 << 20


def read_file(path: str | Path, modality: str) -> Any:
    """The value in a file. Raises InputError naming the file and the remedy."""
    readers: dict[str, Callable[[Path], Any]] = {
        "image": read_image,
        "audio": read_audio,
        "series": read_series,
        "graph": _read_graph,
        "coord": _read_boxes,
        "text": lambda path: limits.read_text(path, limits.MAX_TEXT_BYTES),
    }
    if modality not in readers:
        raise InputError(
            f"{path}: no file format holds {modality!r}; there are {', '.join(readers)}"
        )
    path = limits.existing(limits.expand(str(path)))
    try:
        return readers[modality](path)
    except ValueRefused as error:
        raise InputError(f"{path}: {error}") from None


def require_written(path: str | Path, modality: str) -> None:
    """Raises InputError for a path whose extension names no format that values of the modality are written in."""
    formats = WRITTEN.get(modality)
    if formats is not None and Path(path).suffix.lower() not in formats:
        raise InputError(f"{path}: {modality} is written as {', '.join(formats)}")


def write_file(value: Any, path: str | Path) -> None:
    """Write a value in the format that the path's extension names, whole or not at all.

    Raises InputError for a format that cannot hold it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writers: dict[type, Callable[[Any, Path], Any]] = {
        Image: _write_image,
        Audio: _write_audio,
        Series: _write_series,
        Graph: _write_graph,
        Boxes: _write_boxes,
        str: _write_text,
    }
    for kind, write in writers.items():
        if isinstance(value, kind):
            return write(value, path)
    raise InputError(f"{path}: a {type(value).__name__} is no value of a modality")


# ---- images ----------------------------------------------------------------------------------


def read_image(path: str | Path) -> Image:
    """uint8 grey or RGB. Refused from the header alone: more than 64 megapixels, or another format."""
    return _decode_image(limits.opened(limits.existing(path)), path)


def read_packed(content: bytes, modality: str, name: str) -> Any:
    """The image or audio in the bytes of a file, as tables hold them. name: of the messages."""
    decoders = {"image": _decode_image, "audio": _decode_audio}
    if modality not in decoders:
        raise InputError(f"{name}: bytes are read as image or audio, not {modality!r}")
    return decoders[modality](io.BytesIO(content), name)


def _decode_image(file: str | IO[bytes], path: str | Path) -> Image:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: the limit below is lower
            # only these decoders run on untrusted bytes
            with Pillow.open(file, formats=sorted(set(IMAGE_FORMATS.values()))) as picture:
                width, height = picture.size
                if width * height > limits.MAX_PIXELS:
                    raise InputError(
                        f"{path}: {width} x {height} pixels, more than "
                        f"{limits.MAX_PIXELS // 1_000_000} million; scale it down"
                    )
                return Image(_eight_bits(picture))
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: not a picture; want {', '.join(sorted(set(IMAGE_FORMATS.values())))}"
        ) from None
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise InputError(f"{path}: damaged picture ({_short(error)}); export it again") from None


def smaller(value: Image, factor: float) -> Image:
    """The picture `factor` (up to 1) times as large, at least a pixel; each one the mean of those it covers."""
    from PIL import Image as Pillow

    height, width = (max(1, round(side * factor)) for side in value.pixels.shape[:2])
    planes = [
        np.asarray(Pillow.fromarray(plane).resize((width, height), Pillow.Resampling.BOX))
        for plane in np.moveaxis(value.pixels, 2, 0)
    ]
    return Image(np.stack(planes, axis=2))


def _eight_bits(picture: Any) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bit grey
        deep = np.asarray(picture, np.float32)
        return (np.clip(deep, 0, 65535) / 257).round().astype(np.uint8)
    if "A" in picture.getbands() or "transparency" in picture.info:
        from PIL import Image as Pillow

        picture = picture.convert("RGBA")
        white = Pillow.new("RGBA", picture.size, "white")
        return np.asarray(Pillow.alpha_composite(white, picture).convert("RGB"))
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def _write_image(value: Image, path: Path) -> None:
    from PIL import Image as Pillow

    require_written(path, "image")
    form = IMAGE_FORMATS[path.suffix.lower()]
    pixels = value.pixels[:, :, 0] if value.channels == 1 else value.pixels
    extra = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    with replacing(path) as fresh:
        Pillow.fromarray(pixels).save(fresh, form, **extra)


# ---- audio -----------------------------------------------------------------------------------


def read_audio(path: str | Path) -> Audio:
    """Mono at the file's own rate (channels averaged). What the header claims is bounded, then checked by reading."""
    return _decode_audio(limits.opened(limits.existing(path)), path)


def _decode_audio(opened: str | IO[bytes], path: str | Path) -> Audio:
    import soundfile

    try:
        with quiet_libraries(), soundfile.SoundFile(opened) as file:
            if file.samplerate <= 0 or file.channels <= 0:
                raise InputError(f"{path}: a sample rate of {file.samplerate}; export it again")
            blocks, total = [], 0
            while True:  # the frames that are there count, not those that the header promises
                block = file.read(1 << 16, dtype="float32", always_2d=True)
                if not len(block):
                    break
                total += block.size
                if total > limits.MAX_SAMPLES:
                    raise InputError(
                        f"{path}: more than {limits.MAX_SAMPLES} samples; cut it into shorter files"
                    )
                blocks.append(block.mean(axis=1))
            rate = file.samplerate
    except InputError:
        raise
    except Exception as error:  # libsndfile's errors, and its wrapper's
        reason = _short(getattr(error, "error_string", error))  # without the path, which is named
        if "does not exist" in reason:  # libsndfile of bytes that begin as MP3: the file is there
            reason = "it begins as MP3, but no sound follows: cut short or damaged"
        raise InputError(f"{path}: not a readable recording ({reason}); export it again") from None
    if not blocks:
        raise InputError(f"{path}: no samples; record it again")
    return Audio(np.concatenate(blocks).astype(np.float32), rate)


def _write_audio(value: Audio, path: Path) -> None:
    import soundfile

    require_written(path, "audio")
    with replacing(path) as fresh:
        soundfile.write(str(fresh), np.clip(value.samples, -1, 1), value.rate)


# ---- series ----------------------------------------------------------------------------------


def read_series(path: str | Path) -> Series:
    """[T, C]: one row a time step. Empty cells and `nan` are missing values."""
    path = limits.existing(path)
    suffix = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix == ".npy":
        return Series(limits.read_npy(path))
    if suffix == ".parquet":
        return Series(parquet.read_numbers(path))
    if suffix not in (".csv", ".tsv", ".txt"):
        raise InputError(f"{path}: a series is read from csv, tsv, npy or parquet")
    _, columns = numeric_table(path, "\t" if suffix == ".tsv" else ",")
    return Series(np.stack(columns, axis=1))


def read_table(path: str | Path, delimiter: str = ",") -> tuple[list[str] | None, list[list[str]]]:
    """(header or None where the first row is numbers, rows of equal width) of a csv file, plain or .gz."""
    rows: list[list[str]] = []
    text = limits.read_text(path)
    if "\0" in text:
        raise InputError(f"{path}: NUL bytes; not a csv file")
    if max(map(len, io.StringIO(text)), default=0) > MAX_CSV_LINE:
        raise InputError(f"{path}: a line of more than {MAX_CSV_LINE} characters; not a csv file")
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if len(row) > MAX_COLUMNS:
                raise InputError(f"{path}: more than {MAX_COLUMNS} columns in line {len(rows) + 1}")
            if row:
                if rows and len(row) != len(rows[0]):
                    raise InputError(
                        f"{path}: {len(row)} cells in row {len(rows) + 1}, {len(rows[0])} in the first"
                    )
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{path}: not a csv file ({error}, after row {len(rows)})") from None
    if not rows:
        raise InputError(f"{path}: empty; want one row a record")
    names_first = not any(_is_number(cell) for cell in rows[0] if cell)
    return (rows[0], rows[1:]) if names_first else (None, rows)


def numeric_table(path: str | Path, delimiter: str = ",") -> tuple[list[str], list[np.ndarray]]:
    """Names and float64 columns of those columns of a csv whose first filled cell is a number."""
    header, rows = read_table(path, delimiter)
    names, columns = [], []
    for index in range(len(rows[0]) if rows else 0):
        name = header[index] if header else f"column {index + 1}"
        cells = [row[index].strip() for row in rows]
        first = next((cell for cell in cells if cell), "")
        if first and _is_number(first):
            names.append(name)
            columns.append(np.array([_number(cell, path, name, i) for i, cell in enumerate(cells)]))
    if not columns:
        raise InputError(f"{path}: no column of numbers; a series needs one row a time step")
    return names, columns


def _number(cell: str, path: Any, name: str, row: int) -> float:
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise InputError(
            f"{path}: {cell[:40]!r} in column {name!r}, row {row + 1}, is no number; leave missing cells empty"
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False


def _write_series(value: Series, path: Path) -> None:
    require_written(path, "series")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with replacing(path) as fresh:
            np.save(fresh, value.values)
    else:
        delimiter = "," if suffix == ".csv" else "\t"
        names = [f"c{i}" for i in range(value.channels)]
        # repr of a float32 is its shortest exact spelling; one empty column needs a mark to be a row
        cells = [["nan" if np.isnan(x) else str(x) for x in row] for row in value.values]
        lines = [delimiter.join(row) for row in (names, *cells)]
        _write_text("\n".join(lines) + "\n", path)


# ---- graphs, boxes, text ---------------------------------------------------------------------------


def _read_graph(path: Path) -> Graph:
    from unitok.data import graphs

    return graphs.read_graph(path)


def _write_graph(value: Graph, path: Path) -> None:
    from unitok.data import graphs

    graphs.write_graph(value, path)


def _read_boxes(path: Path) -> Boxes:
    text = limits.read_text(path, limits.MAX_TEXT_BYTES)
    try:
        content = json.loads(text)
        return Boxes(np.asarray(content["coords"], np.float32), content.get("labels") or [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a file of boxes ({_short(error)}); "
            'want {"coords": [[y0, x0, y1, x1], ...], "labels": [...]}'
        ) from None


def _write_boxes(value: Boxes, path: Path) -> None:
    content = {"coords": value.coords.tolist(), "labels": value.labels}
    _write_text(json.dumps(content) + "\n", path)


def _write_text(value: str, path: Path) -> None:
    with replacing(path) as fresh:
        fresh.write_bytes(value.encode("utf-8"))


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
