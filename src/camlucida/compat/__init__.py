"""Other packages' interfaces over this one."""

from __future__ import annotations


def install() -> None:
    """Register ``camlucida.compat.pytorch_grad_cam`` under the name ``pytorch_grad_cam``, for this process.

    Code that is not yours and imports that name then uses this library. Nothing happens before you call it.

    Raises:
        OptionError: the real package has been imported already.
    """
    import sys
    from importlib import import_module
    from pkgutil import walk_packages

    from camlucida.errors import OptionError

    own, name = "camlucida.compat.pytorch_grad_cam", "pytorch_grad_cam"
    package = import_module(own)
    if sys.modules.get(name, package) is not package:
        raise OptionError(
            "the real pytorch_grad_cam has been imported already, and objects of both would mix: call "
            "camlucida.compat.install() before anything imports it"
        )
    for one in walk_packages(package.__path__, f"{own}."):
        import_module(one.name)
    found = {path: module for path, module in sys.modules.items() if f"{path}.".startswith(f"{own}.")}
    sys.modules.update({name + path.removeprefix(own): module for path, module in found.items()})
