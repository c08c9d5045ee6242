"""A search with a residual tower as its model: time, the model's share of it, the ratio to mctx, and its two forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import paired

from renga import nn, search
from renga.search import _forms

from .timing import against, alone, optional, rows, seconds


def tower(num_actions, side, channels, blocks):
    """Returns the network: a board of features and an action give the next board, logits, a value and a reward."""

    def network(board, action):
        conv = functools.partial(nn.Conv2D, channels, 3, with_bias=False)
        plane = jax.nn.one_hot(action % side**2, side**2, dtype=board.dtype).reshape(-1, side, side, 1)
        x = jax.nn.relu(conv(name="enter")(jnp.concatenate([board, plane], -1)))
        for i in range(blocks):
            y = jax.nn.relu(conv(name=f"first_{i}")(x))
            x = jax.nn.relu(x + conv(name=f"second_{i}")(y))
        flat = jnp.mean(x, (1, 2))
        out = nn.Linear(num_actions + 2, name="heads")(flat).astype(jnp.float32)
        return x, out[:, :-2], jnp.tanh(out[:, -2]), jnp.tanh(out[:, -1])

    return nn.without_apply_rng(nn.transform(network))


def searcher(library, network, params, root, simulations):
    """Returns a program, and a function of a root, that search with a library."""

    def step(params, rng_key, action, board):
        board, logits, value, reward = network.apply(params, board, action)
        discount = jnp.full(action.shape, 0.97)
        out = library.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value)
        return out, board

    def run(params, key, board, logits, value):
        root = library.RootFnOutput(prior_logits=logits, value=value, embedding=board)
        return library.gumbel_muzero_policy(params, key, root, step, simulations).action_weights

    return paired.compile_with(run, params, jax.random.key(1), *root)


def start(num_actions, side, channels, blocks, batch):
    """Returns a network, its parameters, and what it says of random boards."""
    network = tower(num_actions, side, channels, blocks)
    board = jax.random.normal(jax.random.key(0), (batch, side, side, channels), jnp.bfloat16)
    action = jnp.zeros((batch,), jnp.int32)
    params = jax.jit(network.init)(jax.random.key(2), board, action)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    return network, params, jax.jit(network.apply)(params, board, action)[:3]


def two_forms(num_actions, num, batch, rounds):
    """Compares the search's two forms, with a model that is looked up in a table and costs nothing beside it."""
    rng = np.random.RandomState(0)
    logits, values = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((64, num_actions), (64,)))
    state = jnp.arange(batch) % 64

    def step(tables, rng_key, action, state):
        state = (5 * state + action + 1) % 64
        logits, values = tables
        out = search.RecurrentFnOutput(
            reward=values[state] / 4, discount=jnp.ones(state.shape), prior_logits=logits[state], value=values[state]
        )
        return out, state

    def visits(tables, key, state):
        root = search.RootFnOutput(prior_logits=tables[0][state], value=tables[1][state], embedding=state)
        return search.gumbel_muzero_policy(tables, key, root, step, num).search_tree.children_visits

    calls = {}
    for form in ("batched", "kernels"):
        with _forms.using(form):
            # A function of its own: JAX keeps what it has traced of one.
            run = lambda *args: visits(*args)
            calls[form] = paired.compile_with(run, (logits, values), jax.random.key(1), state)[1]
    platform = jax.devices()[0].platform
    used = _forms.form_on("cuda" if platform == "gpu" else platform)
    other = "kernels" if used == "batched" else "batched"
    cells = against(calls[used], calls[other], f"{other} form", rounds)
    low, high = cells["ratio_95%"]
    faster = used if low > 1 else other if high < 1 else "neither"
    same = bool(jnp.all(calls[used]() == calls[other]()))
    return {**cells, "form": used, "faster": faster, "same trees": same}


def run(tiny, done):
    channels, blocks, rounds, boards = 64, 5, 7, {9: 3, 362: 19}
    # In order of worth: the sizes that are trained with, large, small.
    grid = itertools.product((32, 256), (1024, 64, 4096, 1), (9, 362))
    forms = [(9, 32, 64), (362, 32, 64), (9, 32, 1)]  # a loop over more trees takes a GPU too long
    if tiny:
        channels, blocks, rounds, grid, forms = 4, 1, 3, [(3, 2, 9)], [(9, 3, 2)]
    mctx = optional("mctx")

    @functools.lru_cache(1)
    def model_alone(num_actions, batch):
        """A program that asks the model as often as it is told."""
        network, params, (board, _, _) = start(num_actions, boards[num_actions], channels, blocks, batch)

        def asked(params, board, action, num):
            def once(_, carry):
                board, action = carry
                board, logits, _, _ = network.apply(params, board, action)
                return board, jnp.argmax(logits, -1).astype(jnp.int32)

            return jax.lax.fori_loop(0, num, once, (board, action))

        args = (params, board, jnp.zeros((batch,), jnp.int32))
        program = jax.jit(asked).lower(*args, jnp.int32(0)).compile()
        return lambda num: jax.block_until_ready(program(*args, jnp.int32(num)))

    def cells(num, batch, num_actions):
        network, params, root = start(num_actions, boards[num_actions], channels, blocks, batch)
        program, ours = searcher(search, network, params, root, num)
        if mctx is None:
            found = alone(ours, rounds)
        else:
            found = against(ours, searcher(mctx, network, params, root, num)[1], "mctx", rounds)
        model, _, _ = seconds(functools.partial(model_alone(num_actions, batch), num), rounds)
        moved = paired.cost(program, "bytes accessed")
        return {
            **found,
            "share in the model": round(min(1.0, 1e6 * model / found["us"]), 3),
            "simulations/s": round(1e6 * batch * num / found["us"]),
            # The compiler counts the body of a loop once: one simulation, with one level of its path.
            "KB moved a simulation by the compiler's estimate": round(moved / batch / 1e3, 2),
            "GB/s by that": round(moved * num / found["us"] / 1e3, 1),
        }

    cases = [
        (f"batch {batch}, {num} simulations, {num_actions} actions", functools.partial(cells, num, batch, num_actions))
        for num, batch, num_actions in grid
    ]
    compared = [
        (
            f"forms: batch {batch}, {num} simulations, {num_actions} actions",
            functools.partial(two_forms, num_actions, num, batch, rounds),
        )
        for num_actions, num, batch in forms
    ]
    yield from rows(cases[:2] + compared[:1] + cases[2:4] + compared[1:] + cases[4:], done)
