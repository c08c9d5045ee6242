"""Names that people know, and what they stand for here."""

import difflib
from collections.abc import Iterable

# Methods that are a setting of a system, and not a system of their own.
METHODS = {
    "a2c": "actor_critic --algorithm a2c --epochs 1",
    "a3c": "actor_critic --algorithm a2c --epochs 1",
    "alphazero": "muzero --model true",
    "bc": "td3 --preset bc",
    "c51": "dqn --distribution categorical",
    "cql": "sac --preset cql",
    "ddpg": "td3 --preset ddpg",
    "ddqn": "dqn --double",
    "doubledqn": "dqn --double",
    "drqn": "dqn --memory lstm",
    "duelingdqn": "dqn --dueling",
    "gumbelmuzero": "muzero --model learned --no-lookahead --policy gumbel",
    "impala": "actor_critic --algorithm vtrace",
    "iqn": "dqn --preset iqn",
    "lsgan": "gan --loss least_squares",
    "mdqn": "dqn --preset munchausen",
    "munchausen": "dqn --preset munchausen",
    "munchausendqn": "dqn --preset munchausen",
    "noisydqn": "dqn --noisy 0.5",
    "ppo": "actor_critic --algorithm ppo",
    "qrdqn": "dqn --distribution quantile",
    "r2d2": "dqn --preset r2d2",
    "rainbow": "dqn --preset rainbow",
    "sampledmuzero": "muzero --model learned --no-lookahead --env pendulum",
    "td3bc": "td3 --preset td3_bc",
    "stochasticmuzero": "muzero --model learned --no-lookahead --chance",
    "vmpo": "actor_critic --algorithm vmpo",
    "vtrace": "actor_critic --algorithm vtrace",
    "wgan": "gan --loss wasserstein --gradient-penalty 10",
}

# Other words for a field or an option.
WORDS = {
    "batch": "batch_size",
    "clip_range": "clip",
    "ent_coef": "entropy_cost",
    "env_id": "env",
    "env_name": "env",
    "environment": "env",
    "gae_lambda": "trace_decay",
    "gamma": "discount",
    "grad_clip": "max_gradient_norm",
    "hidden": "units",
    "iterations": "steps",
    "lambda": "trace_decay",
    "lr": "learning_rate",
    "n_envs": "num_envs",
    "n_steps": "rollout_length",
    "output": "directory",
    "outdir": "directory",
    "rollout": "rollout_length",
    "tau": "target_rate",
    "timesteps": "steps",
    "total_timesteps": "steps",
    "vf_coef": "value_cost",
}


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "").replace("_", "").replace(" ", "")


def near(name: str, known: Iterable[str], count: int = 2) -> list[str]:
    """Names that look like one, the nearest first.

    Example:
      >>> near("Actor-Critic", ["actor_critic", "dqn"]), near("trian", ["train", "watch"]), near("x", ["train"])
      (['actor_critic'], ['train'], [])
    """
    plain = {_plain(one): one for one in known}
    if _plain(name) in plain:
        return [plain[_plain(name)]]
    return [plain[one] for one in difflib.get_close_matches(_plain(name), plain, n=count, cutoff=0.6)]


def system_meant(name: str, systems: Iterable[str]) -> str | None:
    """The system, with arguments where it takes some, that a name may stand for.

    Example:
      >>> system_meant("PPO", []), system_meant("actor-critic", ["actor_critic"])
      ('actor_critic --algorithm ppo', 'actor_critic')
    """
    if (method := METHODS.get(_plain(name))) is not None:
        return method
    found = near(name, systems, count=1) or [METHODS[one] for one in near(name, METHODS, count=1) if len(name) > 3]
    return found[0] if found else None


def option_meant(flag: str, fields: Iterable[str]) -> list[str]:
    """The flags that an unknown one may stand for.

    Example:
      >>> option_meant("--lr", ["learning_rate"]), option_meant("--lerning-rate=1", ["learning_rate"])
      (['--learning-rate'], ['--learning-rate'])
      >>> option_meant("--lr", ["disc_learning_rate", "gen_learning_rate", "seed"])
      ['--disc-learning-rate', '--gen-learning-rate']
    """
    name, fields = flag.partition("=")[0].removeprefix("--").replace("-", "_"), list(fields)
    word = WORDS.get(name, name)
    found = [word] if word in fields else [field for field in fields if field.endswith(f"_{word}")]
    return ["--" + one.replace("_", "-") for one in (found or near(word, fields, count=1))]
