"""Errors that are messages to the user."""


class RunError(Exception):
    """Something about the run that its user can mend; the message says what and how.

    Example:
      >>> try:
      ...     RunDirectory("/no/such/run").read_config()
      ... except RunError as error:
      ...     print(f"{error}; the command exits with {error.exit_code}")
      there is no directory /no/such/run; the command exits with 1
    """

    exit_code = 1  # of the command


class SettingError(RunError):
    """A field or an option has a value that cannot be; nothing was begun.

    Example:
      >>> try:
      ...     objective_of(["loss"], metric="reward")
      ... except SettingError as error:
      ...     print(f"{error}; the command exits with {error.exit_code}")
      --metric must be one of loss, got 'reward'; the command exits with 2
    """

    exit_code = 2


class WriteError(RunError):
    """A checkpoint could not be written. All processes write it: the reason may be that another one is gone."""
