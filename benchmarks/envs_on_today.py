"""Which environments of other packages run on today's JAX, and through this package's interface?

Each package that is installed is tried in a process of its own: an episode of each of its environments begins, and goes
on for three compiled steps in two copies, through the adapter where there is one. Keeps a row for each package and
version of JAX; rows of other versions, and of packages that are not installed here, are kept.

    python benchmarks/envs_on_today.py                  # all that are installed
    python benchmarks/envs_on_today.py brax jumanji     # these
"""

import json
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from record import made, read, write

THROUGH = """
def attempt(name):
    batch = envs.Batch(envs.make(HOME + name), 2)
    state = jax.jit(batch.reset)(key)
    step = jax.jit(batch.step)
    for _ in range(3):
        action = jax.vmap(batch.action_spec.sample)(jax.random.split(key, 2))
        if batch.env.has_illegal_actions:
            action = jax.numpy.argmax(batch.legal_actions(state), axis=1)
        state, after = step(key, state, action)
    assert jax.numpy.isfinite(after.reward).all(), "the reward is not finite"
"""
# What `--env` begins with, and a program that gives the names and says how to try one.
TRIED = {
    "gymnax": ("gymnax/", "import gymnax\nnames = gymnax.registered_envs\n" + THROUGH),
    "pgx": ("pgx/", "import pgx\nnames = [n for n in pgx.available_envs() if 'minatar' not in n]\n" + THROUGH),
    "craftax": ("craftax/", "from renga.envs._craftax import NAMES as names\n" + THROUGH),
    "jumanji": ("jumanji/", "import jumanji\nnames = jumanji.registered_environments()\n" + THROUGH),
    "brax": (
        "brax/",
        "names = 'ant fast halfcheetah hopper humanoid humanoidstandup inverted_pendulum inverted_double_pendulum "
        "pusher reacher swimmer walker2d'.split()\n" + THROUGH,
    ),
    "playground": (
        "",
        """
from mujoco_playground import registry
names = registry.dm_control_suite.ALL_ENVS
def attempt(name):
    env = registry.load(name)
    state = jax.jit(env.reset)(key)
    for _ in range(3):
        state = jax.jit(env.step)(state, jax.numpy.zeros(env.action_size))
""",
    ),
    "xminigrid": (
        "",
        """
import xminigrid
names = xminigrid.registered_environments()
def attempt(name):
    env, params = xminigrid.make(name)
    step = jax.jit(env.reset)(params, key)
    for _ in range(3):
        step = jax.jit(env.step)(params, step, 0)
""",
    ),
    "gymnasium": (
        "gymnasium/",
        "names = 'CartPole-v1 Acrobot-v1 MountainCar-v0 MountainCarContinuous-v0 Pendulum-v1 Taxi-v4 FrozenLake-v1 "
        "CliffWalking-v1 Blackjack-v1'.split()\n" + THROUGH,
    ),
    "box2d": ("gymnasium/", "names = 'LunarLander-v3 BipedalWalker-v3 CarRacing-v3'.split()\n" + THROUGH),
    "ale-py": ("gymnasium/", "names = 'ALE/Pong-v5 ALE/Breakout-v5'.split()\n" + THROUGH),
}
EACH = """
import json, os, re, sys, warnings
warnings.simplefilter("ignore")
import jax
from renga import envs
key = jax.random.key(0)
HOME = {home!r}
out = os.dup(1)
os.dup2(2, 1)  # what packages print is none of ours
{program}
for name in sorted(names):
    why = ""
    try:
        attempt(name)
    except Exception as error:
        words = re.sub(r"(?<![\\w:/])/[^ ]*/", "", " ".join(str(error).split()))  # files without their folders
        why = f"{{type(error).__name__}}: {{words}}"[:300]
    os.write(out, (json.dumps([name, why]) + "\\n").encode())
"""


def attempt(package: str) -> dict:
    """Runs all environments of a package; says which run, and of the others the error."""
    home, program = TRIED[package]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", EACH.format(home=home, program=program)],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    tried = dict(json.loads(line) for line in done.stdout.splitlines())
    fails = {name: why for name, why in tried.items() if why}
    if done.returncode:
        fails["all others" if tried else "all"] = (done.stderr.splitlines() or ["?"])[-1][:300]
    return {
        "package": package,
        "version": version(package),
        "jax": version("jax"),
        "python": platform.python_version(),
        "env": f"{home}NAME" if home else "",
        "runs": [name for name, why in tried.items() if not why],
        "fails": fails,
        "seconds": round(time.perf_counter() - start, 1),
        **made(),
    }


def is_installed(package: str) -> bool:
    """Whether a package is there."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def main() -> None:
    """Tries all that are installed."""
    made()
    rows = {(row["package"], row["jax"]): row for row in read("envs_on_today").get("rows", [])}
    for package in sys.argv[1:] or TRIED:
        if not is_installed(package):
            print(f"{package:12} is not installed", flush=True)
            continue
        row = attempt(package)
        rows[package, row["jax"]] = row
        print(f"{package:12} {row['version']:8} {len(row['runs'])} run, {row['seconds']} s", flush=True)
        for name, why in row["fails"].items():
            print(f"    {name}: {why}", flush=True)
        kept = [rows[key] for key in sorted(rows, key=lambda key: (list(TRIED).index(key[0]), key[1]))]
        write("envs_on_today", "envs_on_today.py", rows=kept)


if __name__ == "__main__":
    main()
