"""The one kind of error that a run shows to its user as a message."""


class RunError(Exception):
    """Something about the run that its user can mend; the message says what and how."""


class WriteError(RunError):
    """A checkpoint could not be written. All processes write it: the reason may be that another one is gone."""
