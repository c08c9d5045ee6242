"""What every record says of its making."""

import datetime
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parents[1]


def made() -> dict[str, str]:
    """The commit that is measured and the day.

    Raises:
      SystemExit: if what is measured has changes that are not in a commit.
    """
    git = lambda *args: subprocess.run(
        ["git", *args], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = git("status", "--porcelain", "--", "src", "benchmarks/*.py")
    if changed:
        raise SystemExit(f"commit first: a record is of a commit\n{changed}")
    return {"commit": git("rev-parse", "HEAD"), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
