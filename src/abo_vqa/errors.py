"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Something given to the project is wrong; the message names the file, row or parameter and what to do."""
