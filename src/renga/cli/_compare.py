"""`renga compare RUN RUN …`."""

from collections.abc import Sequence
from pathlib import Path

from renga.cli._main import UsageError
from renga.loop import RunDirectory, write_comparison

USAGE = "usage: renga compare RUN RUN … [--output FILE.html]"


def run(args: Sequence[str]) -> int:
    """Writes a page with several runs side by side."""
    if "-h" in args or "--help" in args:
        print(f"{USAGE}\n\nWrites comparison.html, or FILE.html, with results, curves and the settings that differ.")
        return 0
    output, runs, left = Path("comparison.html"), [], list(args)
    while left:
        flag, equals, value = (arg := left.pop(0)).partition("=")
        if flag == "--output":
            if not equals and not left:
                raise UsageError("--output must be followed by a file")
            output = Path(value if equals else left.pop(0))
        elif arg.startswith("-"):
            raise UsageError(f"{USAGE}; got {arg!r}")
        else:
            runs.append(RunDirectory(Path(arg)))
    if len(runs) < 2:
        raise UsageError(f"compare takes two or more runs, got {len(runs)}; {USAGE}")
    write_comparison(runs, output)
    print(output)
    return 0
