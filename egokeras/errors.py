"""The one exception that means "what was given cannot be used", as opposed to a defect of egokeras."""


class InputError(ValueError):
    """Bad input: the message is one sentence that names the file or field, what was found, and what to do.

    The command line prints it without a traceback and exits with 1.
    """
