"""What can go wrong, in words a user can act on.

Every message says what was expected, what came, and what to do next, in one sentence.
"""


class CamlucidaError(Exception):
    """Anything camlucida refuses to do; the command line turns it into one line and exit code 2."""


class PictureError(CamlucidaError):
    """A picture cannot be read or does not fit the model."""


class ModelError(CamlucidaError):
    """A model cannot be found, loaded or run."""


class LayerError(CamlucidaError):
    """A layer does not exist, has no positions, or does not influence the score."""


class TargetError(CamlucidaError):
    """The class or score to explain does not exist or is not unique."""


class OptionError(CamlucidaError):
    """A method, option or setting is not one of those that exist."""


class OutputError(CamlucidaError):
    """A result cannot be written where it should go."""


def one_of(kind: str, given: str, known: list[str], hint: str) -> str:
    """The sentence for a name that is not among the known ones, with the closest offered."""
    from difflib import get_close_matches

    lowered = {name.lower(): name for name in known}
    close = [lowered[name] for name in get_close_matches(given.lower(), list(lowered), n=4, cutoff=0.5)]
    offer = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return f"{kind} {given!r} is not known: {offer}{hint}"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's memory has ended: of CUDA's own type, or by what the CPU and MPS say."""
    said = ("can't allocate memory", "MPS backend out of memory")
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)


def reason_of(error: Exception) -> str:
    """What went wrong, in one line: our own errors are sentences, others are named."""
    words = " ".join(str(error).split())
    if isinstance(error, CamlucidaError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
