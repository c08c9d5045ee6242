"""`renga report RUN`."""

from collections.abc import Sequence

from renga.cli._runs import only_run
from renga.loop import write_report


def run(args: Sequence[str]) -> int:
    """Writes a run's report anew and says where it stands."""
    files = only_run(tuple(args), "report")
    write_report(files)
    print(files.path / "report.html")
    return 0
