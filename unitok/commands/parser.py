"""An argument parser whose complaints are one line and exit code 2, as everywhere else."""

from __future__ import annotations

import argparse
from typing import NoReturn

from unitok.errors import InputError


class Parser(argparse.ArgumentParser):
    """No abbreviations: a flag added later must not change what an old command line means."""

    def __init__(self, prog: str, description: str | None, **more: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")
