"""How much memory does a device need for a step, when there are more of them?

Asked of the compiler, for devices of a CPU that nothing is run on: what a device holds of the state between steps, and
what it needs beside that in a step. LPG has 1,024 agents in 64 environments each; the transformer is trained with
Adam, its parameters split with `--shard-parameters`.

    python benchmarks/memory_per_device.py
"""

import dataclasses
import json
import os
import subprocess
import sys

from record import made, write

DEVICES = (1, 2, 8)
NAMES = ("lpg", "transformer")


def transformer():
    """A system that learns to tell the next of random tokens."""
    import jax
    import jax.numpy as jnp

    from renga import nn, optim
    from renga.loop import shard_batch

    layers, heads, width, vocabulary, batch, length = 8, 8, 512, 8192, 64, 64

    def network(tokens):
        x = nn.Embed(vocabulary, width)(tokens)
        mask = jnp.tril(jnp.ones((1, 1, length, length)))
        norm = lambda x: nn.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
        for _ in range(layers):
            h = norm(x)
            x = x + nn.MultiHeadAttention(heads, width // heads, w_init=nn.initializers.VarianceScaling())(
                h, h, h, mask
            )
            x = x + nn.nets.MLP((4 * width, width), activation=jax.nn.gelu)(norm(x))
        return nn.Linear(vocabulary)(norm(x))

    net, optimiser = nn.without_apply_rng(nn.transform(network)), optim.adam(1e-3)

    def init(key):
        params = net.init(key, jnp.zeros((1, length), jnp.int32))
        return {"key": key, "params": params, "opt": optimiser.init(params)}

    def step(state):
        key, key_tokens = jax.random.split(state["key"])
        tokens = shard_batch(jax.random.randint(key_tokens, (batch, length + 1), 0, vocabulary))

        def loss_fn(params):
            log_p = jax.nn.log_softmax(net.apply(params, tokens[:, :-1]))
            return -jnp.mean(jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1))

        loss, grads = jax.value_and_grad(loss_fn)(state["params"])
        updates, opt = optimiser.update(grads, state["opt"], state["params"])
        return {"key": key, "params": optim.apply_updates(state["params"], updates), "opt": opt}, {"loss": loss}

    return init, step


def measure(name: str) -> dict[str, int]:
    """Bytes that the compiler says a device needs."""
    import jax

    from renga.loop._devices import make_mesh
    from renga.loop._places import places_of
    from renga.systems import lpg

    mesh = make_mesh()
    with jax.set_mesh(mesh):
        if name == "lpg":
            config = dataclasses.replace(lpg.Config(), worlds=("grid/dense",), num_agents=1024, num_envs=64)
            init, step = lpg.make(config)
        else:
            init, step = transformer()
        state = jax.eval_shape(init, jax.random.key(0))
        places = places_of(state, mesh, shard_parameters=name == "transformer")
        jitted = jax.jit(step, in_shardings=(places,), out_shardings=(places, None), donate_argnums=0)
        found = jitted.lower(state).compile().memory_analysis()
    return {"state": found.argument_size_in_bytes, "beside it": found.temp_size_in_bytes}


def main() -> None:
    dry = "--dry" in sys.argv
    if not dry:
        made()  # refuses at once, and not at the end
    rows = []
    for name in NAMES:
        for devices in DEVICES:
            environment = os.environ | {
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "JAX_PLATFORMS": "cpu",
            }
            command = [sys.executable, __file__, "--measure", name]
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            rows.append({"system": name, "devices": devices, **json.loads(out.splitlines()[-1])})
            print(rows[-1], flush=True)
    if not dry:
        write("memory_per_device", "memory_per_device.py", rows=rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
