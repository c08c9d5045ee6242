"""A search with a residual tower as its model: time, the model's share of it, and the ratio to mctx where present."""

import functools
import itertools

import jax
import jax.numpy as jnp
import paired

from renga import nn, search

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
    """Returns a function of a root that searches with a library."""

    def step(params, rng_key, action, board):
        board, logits, value, reward = network.apply(params, board, action)
        discount = jnp.full(action.shape, 0.97)
        out = library.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value)
        return out, board

    def run(params, key, board, logits, value):
        root = library.RootFnOutput(prior_logits=logits, value=value, embedding=board)
        return library.gumbel_muzero_policy(params, key, root, step, simulations).action_weights

    return paired.compile_with(run, params, jax.random.key(1), *root)


def run(tiny, done):
    batches, simulations, boards = (1, 64, 1024, 4096), (32, 256), {9: 3, 362: 19}
    channels, blocks, rounds = 64, 5, 7
    if tiny:
        batches, simulations, boards, channels, blocks, rounds = (1, 4), (4,), {9: 3}, 4, 1, 3
    mctx = optional("mctx")

    def cells(num_actions, num, batch):
        side = boards[num_actions]
        network = tower(num_actions, side, channels, blocks)
        board = jax.random.normal(jax.random.key(0), (batch, side, side, channels), jnp.bfloat16)
        action = jnp.zeros((batch,), jnp.int32)
        params = jax.jit(network.init)(jax.random.key(2), board, action)
        params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
        root = jax.jit(network.apply)(params, board, action)[:3]

        def model_alone(params, board, action):
            def once(_, carry):
                board, action = carry
                board, logits, _, _ = network.apply(params, board, action)
                return board, jnp.argmax(logits, -1).astype(jnp.int32)

            return jax.lax.fori_loop(0, num, once, (board, action))

        program, ours = searcher(search, network, params, root, num)
        if mctx is None:
            found = alone(ours, rounds)
        else:
            found = against(ours, searcher(mctx, network, params, root, num)[1], "mctx", rounds)
        model, _, _ = seconds(paired.compile_with(model_alone, params, board, action)[1], rounds)
        return {
            **found,
            "share in the model": round(min(1.0, 1e6 * model / found["us"]), 3),
            "simulations/s": round(1e6 * batch * num / found["us"]),
            "GB moved by the compiler's estimate, loops once": round(paired.cost(program, "bytes accessed") / 1e9, 3),
        }

    grid = itertools.product(simulations, boards, batches)
    cases = [
        (f"batch {batch}, {num} simulations, {num_actions} actions", functools.partial(cells, num_actions, num, batch))
        for num, num_actions, batch in grid
    ]
    yield from rows(cases, done)
