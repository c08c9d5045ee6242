"""Meta-gradients of LPG on many agents: environment steps a second that agents learn from, and the share of peak."""

import dataclasses
import functools

import jax

from renga.systems import lpg

from .timing import alone, rows

# Dense operations a second in bfloat16, as the makers state them.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "TPU v4": 275e12, "TPU v5p": 459e12}


def run(tiny, done):
    def cells(preset, bf16, micro_batch):
        config, _ = lpg.PRESETS[preset]
        num_agents = 1280 if preset == "paper" else 1024  # the paper's five worlds share them
        config = dataclasses.replace(config, num_agents=num_agents, bf16_products=bf16, micro_batch=micro_batch)
        if preset == "groove":
            config = dataclasses.replace(config, worlds=("grid/all",))
        if tiny:
            small = {"worlds": ("grid/small",), "num_agents": 2, "num_envs": 2, "rollout_length": 2, "num_updates": 1}
            config = dataclasses.replace(config, **small, units=4, prediction_size=3, lifetime=4, micro_batch=0)
        init, step = lpg.make(config)
        state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
        program = jax.jit(step).lower(state).compile()
        held = [state]

        def call():
            held[0] = jax.block_until_ready(program(held[0])[0])

        found = alone(call, 3 if tiny else 9)
        seconds = 1e-6 * found["us"]
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
            "million env steps/s": round(frames / seconds / 1e6, 3),
            "GB of temporaries": round(memory.temp_size_in_bytes / 1e9, 2) if memory else None,
            "TFLOP/s in products with the state": round(flops / seconds / 1e12, 3),
            **({} if peak is None else {"share of bfloat16 peak": round(flops / seconds / peak, 4)}),
            "agents": config.num_agents,
            "envs": config.num_envs,
        }

    table = [("groove", True, 0), ("groove", True, 128), ("paper", True, 128), ("groove", False, 128)]
    cases = []
    for preset, bf16, at_once in table[:1] if tiny else table:
        products, agents = "bfloat16" if bf16 else "float32", at_once or "all"
        key = f"{preset}, {products} products, {agents} agents at a time"
        cases.append((key, functools.partial(cells, preset, bf16, at_once)))
    yield from rows(cases, done)
