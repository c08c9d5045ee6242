"""Which environments of other packages run on today's JAX, and through this package?

Each package that is installed is tried in a process of its own: import, reset, and three compiled steps. What is not
installed is said to be so; nothing is installed here. Prints a table and records it.

    python benchmarks/envs_on_today.py
"""

import json
import subprocess
import sys
import time

from record import made, write

# The package, and a program that begins an episode of an environment and takes three steps.
TRIED = {
    "gymnax": """
import gymnax
env, params = gymnax.make("Pendulum-v1")
_, state = env.reset(key, params)
for _ in range(3):
    _, state, *_ = jax.jit(env.step)(key, state, env.action_space(params).sample(key), params)
""",
    "pgx": """
import pgx
env = pgx.make("tic_tac_toe")
state = env.init(key)
for action in range(3):
    state = jax.jit(env.step)(state, action, key)
""",
    "craftax": """
from craftax.craftax_env import make_craftax_env_from_name
env = make_craftax_env_from_name("Craftax-Classic-Symbolic-v1", auto_reset=True)
params = env.default_params
_, state = jax.jit(env.reset)(key, params)
for _ in range(3):
    _, state, *_ = jax.jit(env.step)(key, state, 0, params)
""",
    "jumanji": """
import jumanji
env = jumanji.make("Snake-v1")
state, _ = jax.jit(env.reset)(key)
for _ in range(3):
    state, _ = jax.jit(env.step)(state, env.action_spec.generate_value())
""",
    "brax": """
from brax import envs
env = envs.get_environment("inverted_pendulum", backend="generalized")
state = jax.jit(env.reset)(key)
for _ in range(3):
    state = jax.jit(env.step)(state, jax.numpy.zeros(env.action_size))
""",
    "mujoco_playground": """
from mujoco_playground import registry
env = registry.load("CartpoleBalance")
state = jax.jit(env.reset)(key)
for _ in range(3):
    state = jax.jit(env.step)(state, jax.numpy.zeros(env.action_size))
""",
    "xminigrid": """
import xminigrid
env, params = xminigrid.make("MiniGrid-Empty-8x8")
step = jax.jit(env.reset)(params, key)
for _ in range(3):
    step = jax.jit(env.step)(params, step, 0)
""",
    "gymnasium": """
from renga import envs
batch = envs.Batch(envs.make("gymnasium/CartPole-v1"), 2)
state = batch.reset(key)
for _ in range(3):
    state, _ = jax.jit(batch.step)(key, state, jax.numpy.zeros(2, int))
""",
    "ale_py": """
from renga import envs
batch = envs.Batch(envs.make("gymnasium/ALE/Pong-v5"), 2)
state = batch.reset(key)
for _ in range(3):
    state, _ = jax.jit(batch.step)(key, state, jax.numpy.zeros(2, int))
""",
    "Box2D": """
from renga import envs
batch = envs.Batch(envs.make("gymnasium/LunarLander-v3"), 2)
state = batch.reset(key)
for _ in range(3):
    state, _ = jax.jit(batch.step)(key, state, jax.numpy.zeros(2, int))
""",
}
HERE = {"gymnax": "gymnax/NAME", "pgx": "pgx/NAME", "gymnasium": "gymnasium/ID", "ale_py": "gymnasium/ALE/ID"}
HERE["Box2D"] = "gymnasium/ID"


def attempt(package: str, program: str) -> dict:
    """Runs a program in a process of its own; says whether the package is there, and the last line of an error."""
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    if subprocess.run([sys.executable, "-c", found], check=False).returncode:
        return {"runs": None, "why": "not installed"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import jax\nkey = jax.random.key(0)\n{program}"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line and not line[0].isspace()]
        errors = [line for line in lines if "Error" in line.split(":")[0]]
        return {"runs": False, "why": (errors or lines or ["?"])[-1][:200]}
    return {"runs": True, "why": "", "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Tries all of them."""
    made()
    result = {}
    for package, program in TRIED.items():
        result[package] = found = attempt(package, program) | {"here": HERE.get(package, "")}
        word = {True: "runs", False: "fails", None: "-"}[found["runs"]]
        print(f"{package:20} {word:6} {found['here']:18} {found['why']}", flush=True)
    write("envs_on_today", "envs_on_today.py", **json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
