"""What `train_step.py` feeds both sides: one full batch, and a mixture of lengths padded and packed."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.data import packing

BATCH, S, T = 8, 256, 128
ROW_S, ROW_T = 576, 96  # of the packed mixture


def plain_batch(vocabulary: int) -> tuple[dict[str, Any], Any]:
    """The same full batch for both, 8 x (256 + 128)."""
    import torch

    rng = np.random.default_rng(0)
    inputs, labels = (rng.integers(2, vocabulary, (BATCH, n)).astype(np.int32) for n in (S, T))
    theirs = {"input_ids": torch.tensor(inputs).long(), "labels": torch.tensor(labels).long()}
    return theirs, our_batch(inputs, labels, np.ones((BATCH, S)), np.ones((BATCH, T)))


def our_batch(inputs: Any, labels: Any, encoder_segments: Any, decoder_segments: Any) -> Any:
    """A Batch in T5's manner: each segment's decoder is fed pad, then its labels but the last."""
    import jax

    import unitok.model  # noqa: F401  makes Batch a pytree
    from unitok.interfaces import Batch

    segments = decoder_segments.astype(np.int32)
    first = np.diff(segments, axis=1, prepend=0) != 0
    fed = np.where(first, 0, np.roll(labels, 1, axis=1)).astype(np.int32)
    zero = lambda x: np.zeros(x.shape, np.int32)  # noqa: E731
    at = lambda x: np.zeros((*x.shape, 3), np.int32)  # noqa: E731
    batch = Batch(
        inputs,
        at(inputs),
        zero(inputs),
        encoder_segments.astype(np.int32),
        fed,
        at(fed),
        zero(fed),
        segments,
        np.zeros(fed.shape, bool),
        labels.astype(np.int32),
        (segments > 0).astype(np.float32),
        zero(fed),
        zero(fed),
    )
    return jax.tree.map(jax.numpy.asarray, batch)


def mixture(count: int) -> list[tuple[int, int]]:
    """Lengths (encoder, decoder): 50 % short text, 25 % images, 15 % series, 10 % long text."""
    rng = np.random.default_rng(1)
    kinds = (
        (0.50, (12, 64), (4, 24)),
        (0.25, (260, 296), (2, 16)),
        (0.15, (64, 192), (16, 64)),
        (0.10, (300, 500), (32, 96)),
    )
    drawn = rng.choice(len(kinds), count, p=[share for share, *_ in kinds])
    return [tuple(int(rng.integers(*kinds[k][side])) for side in (1, 2)) for k in drawn]


def mixture_batches(vocabulary: int, count: int) -> tuple[list[Any], list[Any], int, float]:
    """Padded batches for them, packed batches for us, useful tokens, packed fill."""
    import torch

    lengths = mixture(count)
    rng = np.random.default_rng(2)
    pairs = [tuple(rng.integers(2, vocabulary, n) for n in pair) for pair in lengths]
    theirs = []
    for start in range(0, count, BATCH):
        group = pairs[start : start + BATCH]
        pad = lambda side, fill, group=group: torch.nn.utils.rnn.pad_sequence(  # noqa: E731
            [torch.tensor(pair[side]) for pair in group], batch_first=True, padding_value=fill
        )
        inputs, labels = pad(0, 0), pad(1, -100)
        theirs.append(
            {"input_ids": inputs, "attention_mask": (inputs > 0).long(), "labels": labels}
        )
    rows = in_rows(packing.pack(np.array(lengths), (ROW_S, ROW_T)))
    ours = []
    for start in range(0, len(rows), BATCH):
        group = rows[start : start + BATCH]
        inputs, labels = np.zeros((BATCH, ROW_S), np.int32), np.zeros((BATCH, ROW_T), np.int32)
        encoder_segments, decoder_segments = np.zeros_like(inputs), np.zeros_like(labels)
        for r, row in enumerate(group):
            s = t = 0
            for segment, index in enumerate(row, start=1):
                a, b = pairs[index]
                inputs[r, s : s + len(a)], encoder_segments[r, s : s + len(a)] = a, segment
                labels[r, t : t + len(b)], decoder_segments[r, t : t + len(b)] = b, segment
                s, t = s + len(a), t + len(b)
        ours.append(our_batch(inputs, labels, encoder_segments, decoder_segments))
    useful = sum(a + b for a, b in lengths)
    return theirs, ours, useful, useful / (len(ours) * BATCH * (ROW_S + ROW_T))


def in_rows(row_of: np.ndarray) -> list[list[int]]:
    """The examples of each row."""
    return [np.flatnonzero(row_of == row).tolist() for row in range(int(row_of.max()) + 1)]
