"""What is meant for the person at the keyboard: one exception and its kinds, and a warning."""


class ImpastoError(Exception):
    """Something the user can put right. Its text is one line: what is wrong and what to do about it."""


class UnreadableError(ImpastoError):
    """A file is no picture, or a damaged one."""


class TooLargeError(ImpastoError):
    """More than a limit allows."""


class MissingExtraError(ImpastoError, ModuleNotFoundError):
    """A module that comes with an extra of impasto is not installed."""


class IncompleteWarning(UserWarning):
    """A picture ends too early or is damaged, but most of it is there. Its text is one line."""
