"""Exception for unusable input."""


class InputError(ValueError):
    """Input that cannot be used: a file, a number, a combination of options.

    The message says it all: what came, what was wanted, what to do.
    The command line prints it alone and exits with status 2; ComfyUI shows it on the node.
    A defect of our own raises `AssertionError` or another exception, never this one.
    """
