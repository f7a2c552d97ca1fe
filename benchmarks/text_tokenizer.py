"""Text encoding beside SentencePiece's own batched call, on the same model and strings, interleaved.

    python benchmarks/text_tokenizer.py [--repetitions=9]

Claim: at least 0.90 of its speed (the median of each round's ratio), escapes looked for and arrays copied.
Also bytes a token on text the pieces were not learned from, where UNITOK_DATA names the data folder.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import sentencepiece

from unitok.tokenizers.text import MODEL_FILE, TextTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Text encoding beside SentencePiece's own.")
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    tokenizer = TextTokenizer.build()
    peer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.blobs()[MODEL_FILE])
    paragraphs = [part for text in topics.values() for part in text.split("\n\n")]
    print(f"{len(paragraphs):,} paragraphs, {sum(map(len, paragraphs)) / 1e3:,.0f} kB")
    calls = {
        "encode_batch": lambda: tokenizer.encode_batch(paragraphs),
        "sentencepiece, to numpy": lambda: peer.encode(paragraphs, return_type="numpy"),
        "sentencepiece, to lists": lambda: peer.encode(paragraphs),
    }
    seconds = interleaved(calls, repetitions)
    peer_seconds = seconds["sentencepiece, to numpy"]
    for name, times in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(peer_seconds, times))
        print(
            f"{name:<24} {statistics.median(times) * 1e3:7.1f} ms  "
            f"[{min(times) * 1e3:.1f} .. {max(times) * 1e3:.1f}]  ratio {ratio:.2f}"
        )
    folder = os.environ.get("UNITOK_DATA")
    if folder:
        report_rate(tokenizer, Path(folder))


def interleaved(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns so that a busy moment hits all alike; the first round is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def report_rate(tokenizer: TextTokenizer, folder: Path) -> None:
    for name, start in (("tiny-shakespeare", 0.9), ("wikitext2-valid", 0.0)):
        for file in sorted((folder / name).glob("*.gz")):
            text = gzip.decompress(file.read_bytes()).decode()
            text = text[int(len(text) * start) :]
            tokens = len(tokenizer.encode(text))
            print(f"{name:<20} {len(text.encode()) / tokens:.2f} bytes a token")


if __name__ == "__main__":
    main()
