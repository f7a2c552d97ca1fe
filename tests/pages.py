"""What README and the pages of docs tell a reader to type, taken from them word for word, and run here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from unitok.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {"python train/main.py": "unitok train", "python eval/main.py": "unitok eval"}

# Flags that a user has too: a model, a batch and a run of seconds.
SMALL = [
    f"--config.{field}"
    for field in (
        "steps=2", "report=false", "model.d_model=16", "model.d_ff=32", "model.num_heads=2",
        "model.encoder_layers=1", "model.decoder_layers=1", "data.batch_size=2", "data.window=8",
        "checkpoint.validate_batches=1",
    )
]  # fmt: skip


def small_demo() -> list[str]:
    """Flags of configs/demo.py: two of its tasks, few made records, a codec of two steps on few digits."""
    from unitok.configs import demo

    config, fit = demo.get_config(), "tokenizers.image.fit"
    made = [name for name, source in config.sources.items() if source.kind == "synthetic"]
    fields = [f"sources.{name}.options.size=20" for name in made]
    others = [name for name in config.tasks if name not in ("recognise", "draw")]
    fields += [f"tasks.{name}.weight=0" for name in others]
    fields += [f"{fit}.steps=2", f"{fit}.batch_size=4", f"{fit}.limit=40"]
    return [f"--config.{field}" for field in fields]


def snippets(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^ *```python\n(.*?)^ *```", text, re.S | re.M)


def commands(page: str) -> list[str]:
    """The lines of a page's shell blocks, without their comments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", text, re.S | re.M)
    lines = [
        shlex.join(shlex.split(line, comments=True)) for b in blocks for line in b.splitlines()
    ]
    return [line for line in lines if line]


def run(command: str, *more: str) -> int:
    """The exit code of a command with more flags behind it; in this process, so that what is imported stays."""
    for script, name in SCRIPTS.items():
        command = command.replace(script, name, 1)
    first, *words = shlex.split(command)
    assert first == "unitok", command
    return main([*words, *more])
