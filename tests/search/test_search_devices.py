"""A batch of trees that is split over devices: each device searches its own, and nothing of a tree is sent."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search
from renga.search import _forms

B, A = 4, 3
MESH = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
SPLIT = jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec("data"))
WHOLE = jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec())
MESSAGE = re.compile(r"= (\S+) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def model(params, key, action, h):
    h = jnp.tanh(h + action[:, None])
    zeros = jnp.zeros(len(h), jnp.int32)
    out = search.RecurrentFnOutput(
        reward=h[:, 0],
        discount=jnp.full(len(h), 0.9),
        prior_logits=h[:, :A],
        value=h[:, 1],
        invalid_actions=jnp.zeros((len(h), A), bool),
        terminal=h[:, 2] > 2.0,
        to_play=zeros + (h[:, 0] > 0),
    )
    return out, h


def searched(key, h, num_parallel):
    root = search.RootFnOutput(
        prior_logits=h[:, :A],
        value=h[:, 1],
        embedding=h,
        invalid_actions=jnp.zeros((B, A), bool),
        terminal=jnp.zeros(B, bool),
        to_play=jnp.zeros(B, jnp.int32),
    )
    out = search.gumbel_muzero_policy((), key, root, model, num_simulations=4, num_parallel=num_parallel)
    return out.action_weights, out.search_tree


@pytest.mark.parametrize(("form", "num_parallel"), [("kernels", 1), ("batched", 1), ("batched", 2)])
def test_devices_send_each_other_only_whether_a_path_goes_on(form, num_parallel):
    h = jax.random.normal(jax.random.key(1), (B, 4))
    with _forms.using(form):
        fn = lambda key, h: searched(key, h, num_parallel)
        split = jax.jit(fn, in_shardings=(WHOLE, SPLIT), out_shardings=SPLIT).lower(jax.random.key(0), h).compile()
        alone = jax.jit(fn)(jax.random.key(0), h)
    sent = MESSAGE.findall(split.as_text())
    assert {kind for kind, _ in sent} <= ({"pred[]"} if form == "batched" else set()), sent
    both = split(jax.device_put(jax.random.key(0), WHOLE), jax.device_put(h, SPLIT))
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(both), strict=True):
        assert two.sharding.is_equivalent_to(SPLIT, two.ndim)
        np.testing.assert_allclose(np.asarray(two, np.float32), np.asarray(one, np.float32), rtol=1e-5, atol=1e-6)
