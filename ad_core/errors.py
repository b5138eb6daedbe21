"""The one exception that launch scripts turn into a message and status 2."""


class UserError(ValueError):
    """An input that the user can mend: the message names the thing, its value and the mend."""
