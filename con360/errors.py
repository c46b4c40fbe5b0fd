"""The one exception that means "what came from outside is wrong"."""


class InputError(ValueError):
    """Input that cannot be used: a file, a number, a combination of options.

    The message is complete for its reader: what came, what was wanted, what to do.
    The command line prints it alone and exits with status 2; ComfyUI shows it on the node.
    Broken invariants of our own raise `AssertionError` or a plain exception instead,
    so that a defect is never mistaken for a user's mistake.
    """
