"""`unitok import`: the weights of a local Hugging Face T5 or Flan-T5 folder, in this model's layout."""

from __future__ import annotations

from unitok.commands.parser import Parser
from unitok.errors import command


@command
def main(argv: list[str]) -> int:
    parser = Parser("unitok import", __doc__)
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="HF_FOLDER",
        help="folder with config.json and model.safetensors (or its shards and their index)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder to write: model.json and params.safetensors",
    )
    args = parser.parse_args(argv)

    from unitok.model.import_t5 import load_t5, write_import

    config, params, sizes = load_t5(args.source)
    write_import(args.out, config, params, sizes)
    print(
        f"{args.out}: d_model {config.d_model}, {config.encoder_layers} + {config.decoder_layers} layers, "
        f"{sizes.real} ids, {'tied' if config.tied_head else 'untied'} head"
    )
    return 0
