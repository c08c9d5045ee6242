"""The two forms of a search give the same trees; one table says which runs where, and what that rests on."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from renga import search
from renga.search import _forms
from renga.search._quick._kernel import one_kernel

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
# What JAX calls the platform of a record, and the table's names for it.
NAMES = {"cpu": ("cpu",), "gpu": ("cuda",), "tpu": ("tpu",)}


def test_both_forms_give_the_same_trees():
    A = 3

    def step(params, rng_key, action, state):
        state = (5 * state + action + 1) % 64
        logits = jnp.cos(jnp.outer(state, jnp.arange(A, dtype=jnp.float32)))
        return search.RecurrentFnOutput(
            reward=jnp.sin(state * 1.0), discount=jnp.ones(state.shape), prior_logits=logits, value=jnp.cos(3.0 * state)
        ), state

    def run(key):
        state = jnp.arange(4)
        logits = jnp.sin(jnp.outer(state, jnp.arange(A, dtype=jnp.float32)))
        root = search.RootFnOutput(prior_logits=logits, value=jnp.sin(3.0 * state), embedding=state)
        return search.gumbel_muzero_policy((), key, root, step, 9).search_tree

    trees, marks = [], []
    for form in ("kernels", "batched"):
        with _forms.using(form):
            program = jax.jit(lambda key: run(key)).lower(jax.random.key(0))
        marks.append("xla_cpu_small_call" in program.as_text())
        trees.append(program.compile()(jax.random.key(0)))
    assert marks == [True, False]
    for a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_no_simulation_copies_whole_trees():
    B, A, num = 8, 300, 2

    def step(params, rng_key, action, state):
        zeros = jnp.zeros(B)
        logits = jnp.cos(jnp.outer(state, jnp.arange(A, dtype=jnp.float32)))
        return search.RecurrentFnOutput(reward=zeros, discount=zeros, prior_logits=logits, value=zeros), state + action

    def run(key):
        root = search.RootFnOutput(
            prior_logits=jnp.zeros((B, A)), value=jnp.zeros(B), embedding=jnp.zeros(B, jnp.int32)
        )
        return search.gumbel_muzero_policy((), key, root, step, num).search_tree

    text = jax.jit(run).lower(jax.random.key(0)).compile().as_text()
    kernels = [part for part in text.split("\n\n") if not part.lstrip().startswith("ENTRY")]
    array = rf"= \S*\[{B},{num + 1},{A}\]\S* copy\("
    assert not [line for part in kernels for line in part.splitlines() if re.search(array, line)]


def form_of(platform, form=None):
    """Which of two functions a program for a platform has: one form is a sine here, the other a cosine."""
    call = one_kernel(jnp.sin, jnp.cos)
    with _forms.using(form):
        text = jax.jit(lambda x: call(x)).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()
    assert ("xla_cpu_small_call" in text) == ("stablehlo.sine" in text and platform == "cpu")
    return {(True, False): "kernels", (False, True): "batched"}["stablehlo.sine" in text, "stablehlo.cosine" in text]


def test_the_table_decides_for_each_platform(monkeypatch):
    for platform in _forms.FORMS:
        assert form_of(platform) == _forms.FORMS[platform][0] == _forms.form_on(platform)
        assert [form_of(platform, form) for form in ("kernels", "batched")] == ["kernels", "batched"]
    monkeypatch.setitem(_forms.FORMS, "cuda", ("kernels", None))
    assert form_of("cuda") == "kernels"
    assert form_of("rocm") == "batched"
    assert _forms.form_on("a new platform") == "batched"


def test_a_choice_rests_on_its_record_and_an_unmeasured_one_has_none():
    record = RESULTS / "accelerator" / "search.json"
    measured = json.loads(record.read_text()) if record.exists() else {"platform": None, "rows": []}
    for platform, (form, named) in _forms.FORMS.items():
        assert form in ("kernels", "batched")
        assert named is None or (RESULTS / named).exists()
        if platform not in NAMES.get(measured["platform"], ()):
            continue
        faster = [row["faster"] for row in measured["rows"] if "faster" in row]
        assert named == "accelerator/search.json", f"{platform} was measured: name the record, and choose by it"
        assert faster.count(form) >= len(faster) / 2, f"on {platform}, {form} was slower in most rows: {faster}"
