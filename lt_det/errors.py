"""The one exception for a user's mistake."""


class LtDetError(Exception):
    """A mistake in a config, a file or a call, told in one sentence: what is wrong, where, what to do.

    Commands print it without a traceback and exit with code 1.
    """
