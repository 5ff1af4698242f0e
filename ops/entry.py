"""
The console script `tallyhook`: it imports the command line while the garbage collector runs rarely.

Otherwise a short command spends a fifth of its time in collections during the imports, and in a last one at the exit.
"""

import gc

from runtime.startup import collect_rarely


def main() -> None:
    """Entry of the console script."""
    collect_rarely()
    from ops import cli  # noqa: PLC0415  # after the line above

    gc.freeze()
    cli.main()
