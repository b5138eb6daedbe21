"""The one exception that launch scripts turn into a message and status 2."""

from collections.abc import Iterable


class UserError(ValueError):
    """An input that the user can mend: the message names the thing, its value and the mend."""


def require_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Refuses a `value` of the setting `name` that is not one of `known`.

    Raises:
        UserError: it is not; the message lists what it may be.
    """
    choices = tuple(known)
    if value not in choices:
        raise UserError(f"`{name}` (={value!r}) must be one of {', '.join(choices)}.")
