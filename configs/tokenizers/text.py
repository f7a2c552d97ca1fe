"""The shipped text tokenizer: 8,192 codes from text that may be used freely.

    UNITOK_DATA=DIR unitok fit --config=configs/tokenizers/text.py --out=tokenizers/defaults/text
    UNITOK_DATA=DIR python configs/tokenizers/text.py tokenizers/defaults/text    # the model card's table

Cost: 52 seconds on 2 busy cores, most of it reading docstrings. Result: fingerprint 8a13ef2181132e13;
bytes a token on held-out text: abstracts 4.82, Python 3.48, Shakespeare 2.87, WikiText-2 2.95; the whole
table is tokenizers/defaults/text/MODEL_CARD.md.

Everything comes from the standard library, from this project's own dependencies and from the folder
that UNITOK_DATA names; nothing is downloaded. Only public domain, PSF, BSD, MIT, Apache-2.0 and CC BY.
One item in ten is kept out by a hash of its content (or the data set's own split is used) and measured.
"""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import importlib.util
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unitok import tokenizers
from unitok.commands.parser import Parser
from unitok.config import TokenizerConfig
from unitok.errors import InputError, command
from unitok.interfaces import Tokenizer

VOCAB_SIZE = 8192
LIBRARIES = ("numpy", "scipy", "sklearn", "networkx", "jax", "flax", "optax")  # BSD and Apache-2.0


@dataclass(frozen=True)
class TextSource:
    """Where text comes from. read() gives (training items or all items, held-out items or None); cap in bytes."""

    name: str
    licence: str
    cap: int
    read: Callable[[], tuple[list[str], list[str] | None]]

    def split(self) -> tuple[list[str], list[str]]:
        """(training items cut at the cap, held-out items)."""
        items, held_out = self.read()
        if held_out is None:
            held_out = [item for item in items if _one_in_ten(item)]
            items = [item for item in items if not _one_in_ten(item)]
        # in hash order, so that a cap takes a fair sample and not the first files of the alphabet
        return _cut(sorted(items, key=_hash), self.cap), _cut(sorted(held_out, key=_hash), 200_000)


def sources() -> list[TextSource]:
    return [
        TextSource("Python documentation", "PSF", 2_000_000, _python_documentation),
        TextSource("Python source", "PSF", 500_000, _python_source),
        TextSource("library docstrings", "BSD, Apache-2.0", 1_500_000, _library_docstrings),
        TextSource("scikit-learn data set notes", "BSD-3", 200_000, _dataset_notes),
        TextSource("Tiny Shakespeare", "public domain", 1_200_000, _shakespeare),
        TextSource("LJ Speech transcripts", "public domain", 10_000, _ljspeech),
        TextSource("SciTLDR abstracts", "Apache-2.0", 2_000_000, _scitldr),
        TextSource("Banking77", "CC BY 4.0", 600_000, _banking),
        TextSource("BIG-bench (5 tasks)", "Apache-2.0", 1_000_000, _bigbench),
        TextSource("TRUCE captions", "Apache-2.0", 200_000, _truce),
        TextSource("easy-VQA questions", "MIT", 60_000, _easy_vqa),
        TextSource("ChEBI-20 descriptions", "CC BY 4.0", 500_000, _chebi),
        TextSource("QM9 SMILES", "CC0, Apache-2.0", 250_000, _qm9),
        TextSource("MoleculeNet SMILES", "MIT", 300_000, _moleculenet),
    ]


def get_config() -> TokenizerConfig:
    return TokenizerConfig(name="text", options={"vocab_size": VOCAB_SIZE})


def get_values() -> list[str]:
    return [item for source in sources() for item in source.split()[0]]


def get_held_out() -> list[str]:
    return [item for source in sources() for item in source.split()[1]]


@command
def main(argv: list[str]) -> int:
    parser = Parser(
        "configs/tokenizers/text.py", "Print the model card's table of a fitted text tokenizer."
    )
    parser.add_argument("folder", metavar="DIR", help="what `unitok fit` wrote")
    tokenizer = tokenizers.load(parser.parse_args(argv).folder)
    print("\n".join(table(tokenizer)))
    return 0


def table(tokenizer: Tokenizer) -> list[str]:
    """The model card's table: held-out text of each source; sizes in bits per byte of text."""
    lines = [
        "| text | licence | learned from | held out | bytes a token | bits a byte | gzip -9 | xz -9 |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    measured = [(source.name, source.licence, *source.split()) for source in sources()]
    measured += [(name, licence, [], items) for name, licence, items in _only_measured()]
    for name, licence, items, held_out in measured:
        text = "\n".join(held_out).encode()
        tokens = sum(map(len, tokenizer.encode_batch(held_out)))
        nominal = tokens * np.log2(tokenizer.size) / len(text)
        squeezed = [8 * len(squeeze(text)) / len(text) for squeeze in (_gzip, lzma.compress)]
        lines.append(
            f"| {name} | {licence} | {sum(map(_size, items)) / 1000:,.0f} kB | {len(text) / 1000:,.0f} kB "
            f"| {len(text) / tokens:.2f} | {nominal:.2f} | {squeezed[0]:.2f} | {squeezed[1]:.2f} |"
        )
    return lines


# ---- sources inside the environment -------------------------------------------------------


def _python_files(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    return sorted(p for p in folder.rglob("*.py") if not {"tests", "_vendor"} & set(p.parts))


def _standard_library() -> list[Path]:
    folder = Path(os.__file__).parent
    skipped = {"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"}
    return sorted(p for p in folder.rglob("*.py") if not skipped & set(p.parts))


def _docstrings(files: Iterable[Path]) -> list[str]:
    found = []
    for file in files:
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        found += [text for text in texts if text and len(text) > 60]
    return sorted(set(found))


def _python_documentation() -> tuple[list[str], None]:
    from pydoc_data.topics import topics

    return [*topics.values(), *_docstrings(_standard_library())], None


def _python_source() -> tuple[list[str], None]:
    files = [file for file in _standard_library() if file.stat().st_size < 60_000]
    return [file.read_text(encoding="utf-8", errors="replace") for file in files], None


def _library_docstrings() -> tuple[list[str], None]:
    return [text for name in LIBRARIES for text in _docstrings(_python_files(name))], None


def _dataset_notes() -> tuple[list[str], None]:
    spec = importlib.util.find_spec("sklearn.datasets.descr")
    assert spec is not None and spec.origin is not None
    files = sorted(Path(spec.origin).parent.glob("*.rst"))
    paragraphs = [part for f in files for part in f.read_text(encoding="utf-8").split("\n\n")]
    return paragraphs, None


# ---- sources in the folder of UNITOK_DATA -------------------------------------------------


def _data(name: str) -> Path:
    folder = os.environ.get("UNITOK_DATA")
    if not folder:
        raise InputError(
            "UNITOK_DATA: not set; name the folder of data sets, as in UNITOK_DATA=DIR"
        )
    path = Path(folder) / name
    if not path.is_file():
        raise InputError(f"{path}: not found; see configs/tokenizers/text.py for what is read")
    return path


def _gz(name: str) -> str:
    return gzip.decompress(_data(name).read_bytes()).decode()


def _zipped(name: str, member: str) -> str:
    with zipfile.ZipFile(_data(name)) as archive:
        (found,) = [entry for entry in archive.namelist() if Path(entry).name == member]
        return archive.read(found).decode()


def _shakespeare() -> tuple[list[str], list[str]]:
    text = _gz("tiny-shakespeare/input.txt.gz")
    cut = len(text) * 9 // 10  # the split of its published figures
    speeches = [part + "\n\n" for part in text[:cut].split("\n\n")]
    return speeches, [part + "\n\n" for part in text[cut:].split("\n\n")]


def _ljspeech() -> tuple[list[str], None]:
    lines = _zipped("ljspeech-mini/ljspeech-mini.zip", "metadata.csv").splitlines()
    return [text for line in lines for text in line.split("|")[1:]], None


def _scitldr() -> tuple[list[str], list[str]]:
    def read(split: str) -> list[str]:
        rows = [json.loads(line) for line in _gz(f"scitldr/{split}.jsonl.gz").splitlines()]
        return [" ".join(row["source"]) for row in rows] + [t for r in rows for t in r["target"]]

    return read("train"), read("dev")


def _banking() -> tuple[list[str], list[str]]:
    def read(split: str) -> list[str]:
        rows = csv.DictReader(io.StringIO(_zipped("banking77/banking77.zip", f"{split}.csv")))
        return [f"{row['text']} {row['category']}" for row in rows]

    return read("train"), read("test")


def _jsonl(task: str) -> list[str]:
    lines = _zipped("instructions/instructions.zip", f"{task}.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        " ".join(str(row[k]) for k in ("context", "query", "continuation", "answer") if k in row)
        for row in rows
    ]


def _bigbench() -> tuple[list[str], None]:
    tasks = ("operators", "repeat_copy_logic", "cs_algorithms", "conlang_translation")
    return [item for t in (*tasks, "qa_wikidata") for item in _jsonl(f"bigbench_{t}")], None


def _truce() -> tuple[list[str], list[str]]:
    def read(member: str) -> list[str]:
        rows = json.loads(_zipped("truce/truce.zip", member)).values()
        texts = [text for row in rows for text in row["annotations"]]
        return [one for text in texts for one in (text if isinstance(text, list) else [text])]

    train = read("pilot16btrain.json") + read("pilot13finaltrain.json")
    return train, read("pilot16bval.json") + read("pilot13finalval.json")


def _easy_vqa() -> tuple[list[str], None]:
    rows = json.loads(_zipped("easy-vqa/easy-vqa.zip", "questions.json"))
    return sorted({f"{question} {answer}" for question, answer, _ in rows}), None


def _chebi() -> tuple[list[str], None]:
    rows = _gz("chebi20-val/validation.txt.gz").splitlines()[1:]
    return [row.split("\t")[2] for row in rows], None


def _smiles(name: str) -> list[str]:
    return [row["smiles"].strip() for row in csv.DictReader(io.StringIO(_gz(name)))]


def _qm9() -> tuple[list[str], None]:
    return _smiles("qm9-smiles/qm9_smiles.csv.gz"), None


def _moleculenet() -> tuple[list[str], None]:
    names = ("esol", "bbbp", "lipophilicity", "tox21")
    return sorted({s for name in names for s in _smiles(f"moleculenet/{name}.csv.gz")}), None


def _only_measured() -> list[tuple[str, str, list[str]]]:
    """Never learned from: test sets, and text whose licence asks for the same licence."""
    wiki = _gz("wikitext2-valid/" + _only_file("wikitext2-valid")).split("\n")
    return [
        ("GSM8K questions", "MIT", _cut(_jsonl("gsm8k"), 200_000)),
        ("OpenBookQA questions", "Apache-2.0", _jsonl("openbook_qa")),
        ("WikiText-2", "CC BY-SA", _cut(wiki, 200_000)),
    ]


def _only_file(folder: str) -> str:
    (file,) = _data(f"{folder}/NOTICE.txt").parent.glob("*.gz")
    return file.name


# ---- small things -------------------------------------------------------------------------


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="replace")).digest()


def _one_in_ten(text: str) -> bool:
    return _hash(text)[0] % 10 == 0


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="replace"))


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 9)


def _cut(items: list[str], cap: int) -> list[str]:
    sizes = np.cumsum([_size(item) for item in items])
    return items[: int(np.searchsorted(sizes, cap)) + 1]


if __name__ == "__main__":
    raise SystemExit(main())
