"""The command line, run in this process."""

from camlucida.cli import main


def run(*arguments: object, code: int = 0) -> None:
    """The command with these arguments, which ends with ``code``."""
    stopped = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        stopped = stop.code
    assert stopped == code
