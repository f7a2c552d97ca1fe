"""A tokenizer measured on a task's test items: what merely encoding and decoding costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.eval import fidelity, figures
from unitok.eval.context import SAMPLES, TaskContext

ITEMS = 256  # measured at the most


def score_tokenizer(task: TaskContext, tokenizer: Any, field: str) -> dict[str, Any]:
    """Fidelity at rate beside the classical codec, use of the codes, and pairs to look at."""
    values = [record[field] for record in task.records[:ITEMS]]
    items = [fidelity.measure(tokenizer, value) for value in values]
    means = fidelity.summarise(items)
    # an image's header digits come first: what is told of code use is told of the codebook behind them
    codes = getattr(tokenizer, "num_codes", tokenizer.size)
    ids = np.concatenate(tokenizer.encode_batch(values))
    counts = np.bincount(ids, minlength=tokenizer.size)[tokenizer.size - codes :]
    shares = counts[counts > 0] / counts.sum()
    pairs = [
        {
            "truth": figures.show(item.original),
            "reconstruction": figures.show(item.reconstruction),
            "caption": item.fidelity.split(",")[0],
        }
        for item in items[:SAMPLES]
    ]
    return {
        "measured_on": f"{len(values)} items of {task.config.source}, split {task.config.eval_split}",
        "name": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "size": codes,
        "tokens": means["tokens"],
        "bits": means["bits"],
        "rate": f"{means['rate'][0]:.2f} {means['rate'][1]}",
        "scores": {name: value for name, (value, _) in means["scores"].items()},
        "fidelity": ", ".join(fidelity.spell(n, *score) for n, score in means["scores"].items()),
        "classical": fidelity.spell_rivals(means["rivals"], means["bits"], means["rate"]),
        "used": int((counts > 0).sum()),
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        "pairs": pairs,
    }
