"""Meta-gradients of LPG on many agents: environment steps a second, share of peak, and what bounds them."""

import collections
import dataclasses
import functools
import glob
import tempfile

import jax
import jax.numpy as jnp
import paired

from renga import envs, optim
from renga.systems import lpg

from .timing import alone, bound, peaks, rows, seconds

# Dense operations a second in bfloat16, as the makers state them.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "TPU v4": 275e12, "TPU v5p": 459e12}

CHAINS = tuple(name for name in envs.names() if name.startswith("chain/"))
# Name, preset, changes to it, agents taken at a time; in order of worth. The worlds of `groove` are all grids.
TABLE = [
    ("groove", "groove", {"worlds": ("grid/all",), "num_agents": 1024}, 128),
    ("paper", "paper", {"num_agents": 1280}, 128),  # its five worlds share them
    ("groove", "groove", {"worlds": ("grid/all",), "num_agents": 1024}, 0),
    ("groove, all chains", "groove", {"worlds": CHAINS, "num_agents": 1280}, 128),
    ("groove, other worlds", "groove", {"worlds": ("breakout", "cartpole", "catch"), "num_agents": 1152}, 128),
    ("groove, float32 products", "groove", {"worlds": ("grid/all",), "num_agents": 1024, "bf16_products": False}, 128),
]


def configured(preset, changes, at_once, tiny):
    """Returns a preset at the size that is measured."""
    config, _ = lpg.PRESETS[preset]
    config = dataclasses.replace(config, **{"bf16_products": True, "micro_batch": at_once} | changes)
    if not tiny:
        return config
    small = {"worlds": ("grid/small",), "num_agents": 2, "num_envs": 2, "rollout_length": 2, "num_updates": 1}
    return dataclasses.replace(config, **small, units=4, prediction_size=3, lifetime=4, micro_batch=0)


def whole(preset, changes, at_once, tiny):
    """Times a step of the whole system."""
    config = configured(preset, changes, at_once, tiny)
    init, step = lpg.make(config)
    state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
    program = jax.jit(step, donate_argnums=0).lower(state).compile()
    held = [state]

    def call():
        held[0] = jax.block_until_ready(program(held[0])[0])

    found = alone(call, 3 if tiny else 9)
    median = 1e-6 * found["us"]
    # The last rollout only scores the agents.
    frames = config.num_agents * config.num_envs * config.rollout_length * config.num_updates
    memory = program.memory_analysis()
    # The meta-network's products with its state: forwards, twice backwards, and forwards again if recomputed.
    # The compiler's own count takes each loop once.
    gates = {"gru": 3, "lstm": 4}[config.cell]
    flops = 2 * gates * config.units**2 * (4 if config.remat else 3) * frames
    peak = next((x for kind, x in PEAK.items() if kind in jax.devices()[0].device_kind), None)
    return {
        **found,
        "million env steps/s": round(frames / median / 1e6, 3),
        "GB of temporaries": round(memory.temp_size_in_bytes / 1e9, 2) if memory else None,
        "TFLOP/s in products with the state": round(flops / median / 1e12, 3),
        **({} if peak is None else {"share of bfloat16 peak": round(flops / median / peak, 4)}),
        "agents": config.num_agents,
        "envs": config.num_envs,
        "worlds": len(config.worlds),
    }


# ---------------------------------------------------------------- what bounds it


class Pieces:
    """The parts of a meta-gradient as programs of their own, on as many agents as are taken at a time."""

    def __init__(self, tiny):
        name, preset, changes, at_once = TABLE[0]
        del name
        num = 2 if tiny else at_once
        config = configured(preset, changes | {"num_agents": num}, 0, tiny)
        self.setup = lpg.group_for(config, config.worlds[0], lpg.rule_of(config), num).setup
        self.state = jax.jit(lpg.make(config)[0])(jax.random.key(0))
        self.agents = self.state.populations[0].agents
        self.K, self.T, self.times = config.num_updates, config.rollout_length, TABLE[0][2]["num_agents"] // num
        self.tiny = tiny

    def acting(self, setup, agents, key):
        """All agents act in all their environments for T steps."""
        num = agents.update.shape + (agents.env.num_episodes.shape[1],)
        one = jax.vmap(functools.partial(lpg.do_rollout, setup), in_axes=(None, 0, None, 0))
        keys = jax.random.split(key, num)
        return jax.vmap(one)(agents.params, keys, agents.life.level, agents.env)[1]

    def judging(self, setup, eta, params, agents, rollouts):
        """The meta-network judges what they did."""
        one = functools.partial(lpg.apply_update_rule, setup)
        many = jax.vmap(jax.vmap(one, (None, None, 0, None, None)), (None, 0, 0, 0, 0))
        return many(eta, params, rollouts, agents.update, agents.life.length)

    def judging_backwards(self, setup, eta, params, agents, rollouts):
        """The same with its gradient by the meta-network's and by the agents' parameters."""

        def total(eta, params):
            targets = self.judging(setup, eta, params, agents, rollouts)
            return sum(jnp.sum(jnp.sin(x)) for x in targets)

        return jax.grad(total, (0, 1))(eta, params)

    def updating(self, setup, agents, rollouts, targets):
        """The agents follow the gradients of their losses."""

        def one(agent, rollouts, targets):
            losses = jax.vmap(functools.partial(lpg.agent_loss, setup), (None, 0, 0, None))
            loss = lambda params: jnp.mean(losses(params, rollouts, targets, agent.life.y_cost))
            grads = jax.grad(loss)(agent.params)
            updates, opt = setup.optimiser(agent.life.learning_rate).update(grads, agent.opt, agent.params)
            return optim.apply_updates(agent.params, updates), opt

        return jax.vmap(one)(agents, rollouts, targets)

    def measured(self, name):
        """Returns seconds, floating-point operations and bytes of one call of a part, and how many a step has.

        The compiler counts the body of a loop once, so that operations are counted with T = 1, and taken T times.
        """
        key, eta, agents = jax.random.key(1), self.state.eta, self.agents

        def program(T):
            setup = dataclasses.replace(self.setup, rollout_length=T)
            if name == "acting":
                return paired.compile_with(functools.partial(self.acting, setup), agents, key)
            rollouts = jax.jit(functools.partial(self.acting, setup))(agents, key)
            args = (eta, agents.params, agents, rollouts)
            if name == "updating agents":
                targets = jax.jit(functools.partial(self.judging, setup))(*args)
                return paired.compile_with(functools.partial(self.updating, setup), agents, rollouts, targets)
            part = {"meta-network": self.judging, "meta-network and its gradient": self.judging_backwards}[name]
            return paired.compile_with(functools.partial(part, setup), *args)

        median, _, rounds = seconds(program(self.T)[1], 3 if self.tiny else 9)
        once = program(1)[0]
        counted = [self.T * paired.cost(once, what) for what in ("flops", "bytes accessed")]
        return median, rounds, *counted, self.times * (self.K + (name == "acting"))

    @functools.cached_property
    def gradient(self):
        """A call of the meta-gradient of these agents."""
        keys = jax.random.split(jax.random.key(2), len(self.agents.update))
        gradient = lambda eta, agents: lpg.meta_gradient(self.setup, eta, agents, keys)[0]
        return paired.compile_with(gradient, self.state.eta, self.agents)[1]

    @functools.cached_property
    def whole(self):
        """Seconds of it."""
        return seconds(self.gradient, 3 if self.tiny else 9)[0]

    def cells(self, name):
        """Returns the row of a part."""
        median, rounds, flops, moved, calls = self.measured(name)
        peak = peaks(self.tiny)
        return {
            "us": round(1e6 * median, 1),
            "rounds": rounds,
            "calls in a step": calls,
            "share of the step": round(median * calls / (self.whole * self.times), 3),
            "TFLOP/s": round(flops / median / 1e12, 3),
            "share of measured peak": round(flops / median / peak["bfloat16 FLOP/s"], 4),
            "GB/s by the compiler's estimate": round(moved / median / 1e9, 1),
            "share of measured bandwidth": round(moved / median / peak["bytes/s"], 3),
            "bound by": bound(median, flops, moved, peak),
        }


def device(tiny):
    """Returns what the device can do, measured."""
    peak = peaks(tiny)
    return {
        "TFLOP/s in bfloat16": round(peak["bfloat16 FLOP/s"] / 1e12, 2),
        "TFLOP/s in float32": round(peak["float32 FLOP/s"] / 1e12, 2),
        "GB/s": round(peak["bytes/s"] / 1e9, 1),
    }


def longest(pieces):
    """Returns the operations that take most of the device's time in one meta-gradient, from a trace of it."""
    pieces.gradient()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            pieces.gradient()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        planes = list(jax.profiler.ProfileData.from_file(path).planes)
    on_device = [plane for plane in planes if plane.name.startswith("/device:")]
    # A GPU's streams and the operations of a TPU; on a CPU the threads that run a program.
    wanted = ("Stream", "XLA Ops") if on_device else ("tf_XLA",)
    total, begun, count = collections.Counter(), collections.Counter(), 0
    for line in (line for plane in on_device or planes for line in plane.lines if line.name.startswith(wanted)):
        for event in line.events:
            if event.name.startswith(("end: ", "ThunkExecutor")):  # of a CPU, around what is counted
                continue
            total[event.name.split(".")[0][:60]] += event.duration_ns
            begun[event.name.split(".")[0][:60]] += 1
            count += 1
    busy = sum(total.values()) or 1
    first = {name: f"{ns / busy:.1%} in {begun[name]} calls" for name, ns in total.most_common(8)}
    return {"operations": count, "busy ms": round(busy / 1e6, 3), **first}


def run(tiny, done):
    held = functools.cache(lambda: Pieces(tiny))
    cases = []
    for name, preset, changes, at_once in TABLE[:1] if tiny else TABLE:
        key = f"{name}, {at_once or 'all'} agents at a time"
        cases.append((key, functools.partial(whole, preset, changes, at_once, tiny)))
    profile = [("profile: the device", functools.partial(device, tiny))]
    profile += [("profile: longest operations", lambda: longest(held()))]
    for name in ("acting", "meta-network and its gradient", "meta-network", "updating agents"):
        profile.append((f"profile: {name}", functools.partial(lambda name: held().cells(name), name)))
    if tiny:
        yield from rows(cases + profile[:3], done)
    else:
        yield from rows([cases[0], *profile[:2], cases[1], *profile[2:], *cases[2:]], done)
