"""Subcommands of `unitok` that need only the library: one file each, `main(argv) -> exit code`."""
