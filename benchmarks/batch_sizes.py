"""How often a request's answer changes with the batch size it is padded to (inside one size: never).

    python benchmarks/batch_sizes.py [--requests=256]      about 2 minutes

An untrained model of the demo's shape (float32) answers the same requests in batches of 1, 4, 16 and 64,
greedily and sampled. Matrix products of different shapes add in different orders; an answer flips
where two ids are nearly tied. Inside one size, other company must change no bit: asserted.
"""

from __future__ import annotations

import argparse
import sys

import jax
import numpy as np

from unitok import registry
from unitok.config import ModelConfig
from unitok.model import EncoderDecoder, TableSizes
from unitok.predictor import Predictor, Request
from unitok.vocabulary import Vocabulary

SIZES = (1, 4, 16, 64)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=256)
    args = parser.parse_args()
    text = registry.build("text")
    vocabulary = Vocabulary.build([("text", text.size, text.fingerprint)])
    model = EncoderDecoder(
        ModelConfig(d_model=128, d_ff=352), TableSizes.from_vocabulary(vocabulary)
    )
    params = jax.jit(model.init)(jax.random.key(0))
    predictor = Predictor(model, params, vocabulary, {"text": text})
    for temperature in (0.0, 1.0):
        requests = [
            Request(prompt=f"question {i}", temperature=temperature, seed=i, max_new_tokens=30)
            for i in range(args.requests)
        ]
        answers = {}
        for size in SIZES:
            predictor.batch_sizes = (size,)
            answers[size] = [out[0] for out in predictor.generate_batch(requests)]
            shuffled = np.random.default_rng(0).permutation(len(requests))
            again = predictor.generate_batch([requests[i] for i in shuffled])
            for i, (out,) in zip(shuffled, again):
                same = out.ids.tobytes() == answers[size][i].ids.tobytes()
                if not same or out.log_prob != answers[size][i].log_prob:
                    sys.exit(f"batch_sizes: request {i} changed with its company at size {size}")
        for size in SIZES[1:]:
            pairs = list(zip(answers[1], answers[size]))
            flips = sum(a.ids.tobytes() != b.ids.tobytes() for a, b in pairs)
            apart = max(abs(a.log_prob - b.log_prob) for a, b in pairs)
            print(
                f"temperature {temperature}: {flips} of {len(pairs)} answers of 30 tokens differ "
                f"between batches of 1 and {size}; log-probabilities by at most {apart:.1e}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
