"""Errors that are messages to the user."""


class RunError(Exception):
    """Something about the run that its user can mend; the message says what and how."""

    exit_code = 1  # of the command


class SettingError(RunError):
    """A field or an option has a value that cannot be; nothing was begun."""

    exit_code = 2


class WriteError(RunError):
    """A checkpoint could not be written. All processes write it: the reason may be that another one is gone."""
