"""Libraries that only some exports need: named, with the way to install them, where they are missing."""

import importlib.util

from egokeras.errors import InputError


def need(purpose, extra, *modules):
    """Refuse to begin without libraries.

    Args:
        purpose: what needs them.
        extra: of egokeras, that installs them.
        modules: their names.

    Raises:
        InputError: one of them is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{purpose} needs {' and '.join(missing)}; run `pip install 'egokeras[{extra}]'`.")
