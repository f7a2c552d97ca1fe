"""Per-modality tokenizers, one file each. They are found by registered name through the entry-point
group `unitok.tokenizers`, so a third party's package can add one."""

if __name__ != "unitok.tokenizers":
    raise ImportError(
        "this folder is the package `unitok.tokenizers`, imported here as "
        f"{__name__!r}: run `pytest` instead of `python -m pytest`, or leave the repository's root, "
        "so that Hugging Face's `tokenizers` is found"
    )

from unitok.registry import build, load, names

__all__ = ["build", "load", "names"]
