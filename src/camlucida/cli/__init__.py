"""The command ``camlucida``: results on stdout, talk on stderr, exit code 2 for errors that the user can fix.

Nothing heavy is imported here or at the top of the commands' files, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from camlucida import __version__
from camlucida.cli import compare, demo, doctor, evaluate, explain, lists
from camlucida.cli.model_options import joined
from camlucida.cli.run import DEBUG, STDIN
from camlucida.cli.talk import say_error
from camlucida.errors import CamlucidaError, on_command_line

app = App(
    name="camlucida",
    version=__version__,
    help="See where an image classifier looked: class activation maps over your own pictures.",
    help_epilogue="Begin with: camlucida explain photo.jpg   (or `camlucida COMMAND --help`)",
)
_RUN = (explain.explain, compare.compare, demo.demo, evaluate.evaluate, evaluate.recommend)
_SHOW = (lists.models, lists.methods, lists.metrics, lists.layers, doctor.doctor)
for _command in (*_RUN, *_SHOW):
    app.command(_command, help_epilogue="")
_cache = App(name="cache", help="What is known of models' layers, kept on disk between runs.", help_epilogue="")
_cache.command(lists.clear)
app.command(_cache)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(negative="", help="Show where an error came from.")] = False,
) -> None:
    DEBUG.set(debug)
    if not debug:
        sys.excepthook = _briefly
    try:
        app(
            joined([STDIN.as_posix() if token == "-" else token for token in tokens]),
            exit_on_error=False,
            print_error=False,
        )
    except CamlucidaError as error:
        if debug:
            raise
        say_error(str(error))
        raise SystemExit(2) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``arguments``, those of the process unless given.

    Raises:
        SystemExit: with 2 where the user has to mend something, 130 where the user stopped it, 141 where nobody
            reads on (`camlucida methods | head`).
    """
    os.environ.pop("MPLBACKEND", None)  # Jupyter's, which matplotlib refuses outside; none is used here
    if sys.stdout is None:
        say_error("results go to standard output, which is closed: leave it open, or send it to a file")
        raise SystemExit(2)
    try:
        with on_command_line():
            app.meta(sys.argv[1:] if arguments is None else arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except UnusedCliTokensError as error:
        alone = " ".join(error.unused_tokens or [])
        say_error(
            f"{alone} belongs to no option, of which each takes one value: name pictures first, and repeat an "
            "option for several values (`-m gradcam -m layercam`)"
        )
        raise SystemExit(2) from None
    except CycloptsError as error:
        say_error(f"{str(error).rstrip('.')}; `camlucida {_command_in(arguments)}--help` lists what there is")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        say_error("stopped; pictures already written are whole")
        raise SystemExit(130) from None
    except BrokenPipeError:
        _forget_stdout()
        raise SystemExit(141) from None
    except OSError as error:
        if not _stdout_failed():
            raise
        say_error(f"standard output cannot be written ({error.strerror or error}): send it somewhere else")
        raise SystemExit(2) from None


def _command_in(arguments: Sequence[str] | None) -> str:
    """The command asked for and a space, nothing where it is none."""
    first = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    return f"{first} " if first in tuple(app) else ""


def _stdout_failed() -> bool:
    """Whether it is standard output that cannot be written, tried with an empty line."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        _forget_stdout()
        return True
    return False


def _forget_stdout() -> None:
    """Let what was not written vanish; else Python complains about it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _briefly(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Report unexpected errors in one line as well."""
    say_error(f"unexpected {kind.__name__}: {error}; run it again with --debug and report what it prints")
