"""Text encoding beside SentencePiece's own batched call, on the same model and strings, interleaved.

    UNITOK_DATA=DIR python benchmarks/text_tokenizer.py [--repetitions=9]

Claim: at least 0.90 of its speed (the median of each round's ratio), escapes looked for and arrays copied.
Also the model card's table, bytes a token on text held out, where UNITOK_DATA names the data folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pydoc_data.topics import topics

import sentencepiece

from unitok.configs.tokenizers.text import table
from unitok.tokenizers.text import MODEL_FILE, TextTokenizer

CLAIM = 0.9


def main() -> int:
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
    held = True
    for name, times in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(peer_seconds, times))
        print(
            f"{name:<24} {statistics.median(times) * 1e3:7.1f} ms  "
            f"[{min(times) * 1e3:.1f} .. {max(times) * 1e3:.1f}]  ratio {ratio:.2f}"
        )
        held &= name != "encode_batch" or ratio >= CLAIM
    print(f"claim, {CLAIM} of its speed: {'holds' if held else 'DOES NOT HOLD'}\n")
    if os.environ.get("UNITOK_DATA"):
        print("\n".join(table(tokenizer)))
    else:
        print("rates skipped: set UNITOK_DATA to the folder of data sets")
    return 0 if held else 1


def interleaved(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns so that a busy moment hits all alike; the first round is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


if __name__ == "__main__":
    raise SystemExit(main())
