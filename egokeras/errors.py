"""The one exception that means "what was given cannot be used", as opposed to a defect of egokeras; where it is raised for a missing
library; and text safe to print."""

import re

# What a terminal obeys in place of showing it, and what is no character at all.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text):
    """`text` with control characters written out: names of files and classes are others' words."""
    return CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class InputError(ValueError):
    """Bad input: the message is one sentence that names the file or field, what was found, and what to do.

    The command line prints it without a traceback and exits with 1.
    """


def said(check, *arguments):
    """Yield the sentence of the InputError that a function raises, if it does."""
    try:
        check(*arguments)
    except InputError as error:
        yield str(error)


def library(module, purpose, package):
    """A module that the base install lacks."""
    try:
        return __import__(module)
    except ImportError:
        raise InputError(f"{module} is needed {purpose}; install it with: pip install {package}") from None
