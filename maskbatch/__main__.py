"""`python -m maskbatch` is the `maskbatch` command."""

import sys


def run() -> None:
    """The command, from its first import on."""
    try:
        from maskbatch.cli.main import main

        main()
    except KeyboardInterrupt:  # before the command line could take it
        sys.exit(130)


if __name__ == "__main__":
    run()
