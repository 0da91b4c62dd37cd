"""What is meant for the person at the keyboard: one exception and its kinds, and a warning."""


class ImpastoError(Exception):
    """Something the user can put right. Its text is one line: what is wrong and what to do about it."""


def first_line(error: BaseException) -> str:
    """Gives the first line of what a library says of an error, for a line of our own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with the places in its sources.
    told = next((line for line in lines if " at src/" not in line and not line.startswith("Exception from ")), "")
    return told[:300] or (lines or [type(error).__name__])[0][:300]


class UnreadableError(ImpastoError):
    """A file is no picture, or a damaged one."""


class UnusableNameError(ImpastoError):
    """No file can be called so where it is to be written."""


class TooLargeError(ImpastoError):
    """More than a limit allows."""


class MissingExtraError(ImpastoError, ModuleNotFoundError):
    """A module that comes with an extra of impasto is not installed."""


class IncompleteWarning(UserWarning):
    """A picture ends too early or is damaged, but most of it is there. Its text is one line."""
