"""`renga list`."""

from collections.abc import Sequence

from renga import systems


def run(args: Sequence[str]) -> int:
    """Prints the systems and the first line of what each says of itself."""
    del args
    for name in systems.names():
        summary = (systems.get(name).__doc__ or "").strip().splitlines()[0]
        print(f"{name:<14} {summary}")
    return 0
