"""Which folders of tests are passed over where an extra of impasto is not installed."""

from __future__ import annotations

from importlib.util import find_spec


def ignored_without(*modules: str) -> list[str]:
    """What a folder's conftest.py gives pytest as `collect_ignore_glob`: all its tests, if one of these is missing."""
    return [] if all(find_spec(module) for module in modules) else ["test_*.py"]
