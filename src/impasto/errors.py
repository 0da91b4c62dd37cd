"""The one exception that is meant for the person at the keyboard."""


class ImpastoError(Exception):
    """Something the user can put right. Its text is one line: what is wrong and what to do about it."""


class UnreadableError(ImpastoError):
    """A file is no picture, or a damaged one."""


class UnusableNameError(ImpastoError):
    """No file can be called so where it is to be written."""


class TooLargeError(ImpastoError):
    """More than a limit allows."""


class MissingExtraError(ImpastoError, ModuleNotFoundError):
    """A module that comes with an extra of impasto is not installed."""
