"""Records: what was measured, and on what. Every benchmark writes through here."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEERS = (
    "jax",
    "jaxlib",
    "chex",
    "distrax",
    "dm-haiku",
    "gymnasium",
    "gymnax",
    "jraph",
    "mctx",
    "optax",
    "rlax",
    "scipy",
    "torch",
)


def made() -> dict[str, str]:
    """The commit that is measured and the day. A long benchmark asks first, for not to be refused at its end.

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


def machine() -> dict[str, Any]:
    """The device, its processors, Python and the packages that are compared."""
    import jax

    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}, {len(jax.devices())}",
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": found,
    }


def read(name: str) -> dict[str, Any]:
    """A record, or nothing if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(name: str, command: str, **found: Any) -> None:
    """Keeps what was found. Rows of earlier runs that are kept beside new ones should carry `made()` each."""
    RESULTS.mkdir(exist_ok=True)
    document = {"command": f"python benchmarks/{command}", **made(), **machine(), **found}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
