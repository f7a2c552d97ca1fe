"""What several rooms' tests share: one cache of compiled programs a session, and one tiny run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("unitok", deadline=None)  # no test asserts wall-clock time
settings.load_profile("unitok")

# Before JAX is imported. Subprocesses inherit it: what one test compiled, the next one loads.
_CACHE = tempfile.TemporaryDirectory(prefix="unitok-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

TINY = """
from unitok.config import *

LINES = [f"{{a}} {{b}}" for a in ("red", "green", "old") for b in ("dog", "cat", "bird")] * 6

def get_config():
    columns = {{"q": LINES, "a": [line[::-1] for line in LINES]}}
    return Config(
        name="tiny",
        steps=4,
        tokenizers={{"text": TokenizerConfig(name="text", path={path!r})}},
        sources={{"lines": SourceConfig(kind="arrays", options={{"columns": columns}})}},
        tasks={{"turn": TaskConfig(source="lines", templates=[Template(inputs="{{q:text}}?", targets="{{a:text}}")])}},
        model=ModelConfig(d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.1),
        data=DataConfig(batch_size=8, window=60, streams=2, encoder_length=24, decoder_length=24),
        # a constant rate, so that runs of different lengths are one program, compiled once
        optimizer=OptimizerConfig(schedule="constant", warmup_steps=2, learning_rate=1e-2, ema_decay=0.9),
        checkpoint=CheckpointConfig(every=2, validate_every=2, validate_batches=2),
    )
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file of a very small text run, with a tokenizer of its own."""
    from unitok.tokenizers.text import TextTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    lines = [f"{a} {b}" for a in ("red", "green", "old") for b in ("dog", "cat", "bird")] * 9
    TextTokenizer.fit(lines, vocab_size=290, log=lambda line: None).save(folder / "text")
    (folder / "tiny.py").write_text(TINY.format(path=str(folder / "text")))
    return folder / "tiny.py"
