"""The model room: one encoder-decoder over the shared vocabulary."""

import jax

from unitok.interfaces import BATCH_FIELDS, Batch
from unitok.model.blocks import TableSizes
from unitok.model.decoding import Cache
from unitok.model.transformer import EncoderDecoder

jax.tree_util.register_dataclass(Batch, data_fields=list(BATCH_FIELDS), meta_fields=[])

__all__ = ["Cache", "EncoderDecoder", "TableSizes"]
