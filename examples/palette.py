"""A modality of one's own in one file: colour palettes, lists of one to eight [r, g, b].

python train/main.py --config=examples/palette.py --config.init_from=runs/demo
UNITOK_PLUGINS=examples/palette.py unitok generate --checkpoint=runs/palette --to=palette "A warm palette"

Tokens: the number of colours, then three levels a colour. docs/add-a-modality.md walks through it.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from unitok import registry
from unitok.config import Config, SourceConfig, TaskConfig, Template, TokenizerConfig
from unitok.configs import demo
from unitok.tokenizers.base import BaseTokenizer
from unitok.values import ValueRefused

MOST = 8  # colours: codes 0..7 say how many
LEVELS = 32  # of a channel: codes 8..39


@registry.register
class PaletteTokenizer(BaseTokenizer):
    """Colours in their order; a channel comes back to half a level, 255 / 31 / 2 = 4.1."""

    name = modality = "palette"
    size = MOST + LEVELS

    def encode(self, value, context=None, rng=None):
        colours = np.asarray(value)
        fits = colours.shape[1:] == (3,) and 1 <= len(colours) <= MOST
        if not fits or colours.min() < 0 or colours.max() > 255:
            raise ValueRefused(f"palette: want 1 to {MOST} [r, g, b] in 0..255, got {value!r:.60}")
        levels = np.rint(colours.reshape(-1) / 255 * (LEVELS - 1)).astype(np.int32)
        return np.append(np.int32(len(colours) - 1), levels + MOST).astype(np.int32)

    def decode(self, ids, context=None):
        ids = self.check_ids(ids)
        if not len(ids) or len(ids) != 4 + 3 * ids[0] or ids[1:].min() < MOST:
            raise ValueError("palette: want a number of colours, then three levels each")
        return np.rint((ids[1:] - MOST) / (LEVELS - 1) * 255).astype(int).reshape(-1, 3).tolist()

    def grammar(self, colours=None):
        """Any palette, or one of so many colours."""
        return PaletteGrammar(colours or 0)


@dataclasses.dataclass(frozen=True)
class PaletteGrammar:
    """Registers: codes so far, levels still to come."""

    colours: int  # 0: any number
    size = MOST + LEVELS
    num_registers = 2

    @property
    def min_tokens(self):
        return 1 + 3 * max(self.colours, 1) + 1  # the number, the levels, the end

    def registers(self):
        return np.zeros(2, np.int32)

    def step(self, registers, code, budget):
        begins, counts = code < 0, (code >= 0) & (code < MOST)
        seen = jnp.where(begins, 0, registers[0] + 1)
        left = jnp.where(begins, 0, jnp.where(counts, 3 * (code + 1), registers[1] - 1))
        numbers = 1 + jnp.arange(MOST)
        fits = (1 + 3 * numbers + 1 <= budget) & ((numbers == self.colours) | (self.colours == 0))
        codes = jnp.concatenate([begins & fits, jnp.full(LEVELS, left > 0)])
        allowed = jnp.append(codes, ~codes.any())
        position = jnp.full(3, jnp.maximum(seen - 1, 0)).astype(jnp.int32)
        return jnp.stack([seen, left]).astype(jnp.int32), allowed, position


def get_config() -> Config:
    """The demo's model and tokenizers, with one block and two tasks more."""
    base, rng = demo.get_config(), np.random.default_rng(0)
    moods = {"warm": [255, 120, 40], "cold": [40, 120, 255], "grey": [128, 128, 128]}
    words = [word for word in moods for _ in range(200)]
    noise = [rng.normal(0, 30, (int(rng.integers(2, 5)), 3)) for _ in words]
    colours = [np.clip(moods[w] + n, 0, 255).astype(int).tolist() for w, n in zip(words, noise)]
    read, write = "Mood of {palette}", "A {mood:text} palette"
    return dataclasses.replace(
        base,
        name="palette",
        steps=200,
        tokenizers={**base.tokenizers, "palette": TokenizerConfig(name="palette")},
        # the demo's too, of which only the fit of its image tokenizer reads one, where there is no init_from
        sources={**base.sources, "palettes": SourceConfig(kind="arrays", options={"columns": {"palette": colours, "mood": words}})},
        tasks={
            "mood": TaskConfig(source="palettes", templates=[Template(inputs=read, targets="{mood:text}")]),
            "paint": TaskConfig(source="palettes", templates=[Template(inputs=write, targets="{palette}")]),
        },
    )  # fmt: skip
