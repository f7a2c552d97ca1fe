"""A predictor of random weights over every registered tokenizer: what the grammar promises and what the
tools show must not hang on what a model has learned."""

from __future__ import annotations

from typing import Any

import jax

from unitok import registry
from unitok.config import ModelConfig
from unitok.model import EncoderDecoder, TableSizes
from unitok.predictor import Predictor
from unitok.tokenizers.text import TextTokenizer
from unitok.vocabulary import Vocabulary


def make_predictor(**options: Any) -> Predictor:
    lines = [f"{a} {b}" for a in ("red", "green", "old") for b in ("dog", "cat", "bird")] * 9
    tokenizers = {}
    for name in registry.names():
        if name == "text":
            tokenizers[name] = TextTokenizer.fit(lines, vocab_size=290, log=lambda line: None)
        elif name == "image":
            tokenizers[name] = registry.build("image", patch=4, codes=32, width=8, depth=1)
        else:
            tokenizers[name] = registry.build(name)
    vocabulary = Vocabulary.build([(n, t.size, t.fingerprint) for n, t in tokenizers.items()])
    config = ModelConfig(
        d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1, tied_head=False
    )
    model = EncoderDecoder(config, TableSizes.from_vocabulary(vocabulary))
    params = jax.jit(model.init)(jax.random.key(0))
    decoder = {**params["decoder"], "cross_out": params["decoder"]["cross_out"] * 8}
    return Predictor(model, {**params, "decoder": decoder}, vocabulary, tokenizers, **options)
