"""UniTok: text, images, audio, series and graphs as tokens of one vocabulary, in one encoder-decoder."""

from typing import Any

__version__ = "0.1.0"


def load(
    path: Any, step: int | None = None, ema: bool = True, dtype: str | None = None, mesh: Any = None
) -> Any:
    """A trained model from its run folder: see `unitok.predictor.Predictor`."""
    from unitok.predictor import Predictor

    return Predictor.load(path, step=step, ema=ema, dtype=dtype, mesh=mesh)


def train(config: Any) -> Any:
    """Train as `python train/main.py` does; `config` is a `unitok.config.Config`."""
    from importlib.metadata import entry_points

    (command,) = entry_points(group="unitok.programs", name="train")
    return command.load()(config)
