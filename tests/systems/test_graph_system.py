"""The graph tasks: judges worked by other means, the same bits after going on, and what each learns."""

import dataclasses
import functools
import json
import sys

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest
from ase.data import g2

from renga import graph as G
from renga import loop
from renga.cli import main
from renga.systems import graph
from renga.systems.graph import _atlas, _molecules, _paths

SMALL = graph.Config(units=8, layers=2, decay_steps=0, batch_size=4, nodes=6)
TASKS = ("atlas", "karate", "paths", "molecules")

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("task", TASKS)
def test_saving_and_going_on_gives_the_same_bits_and_a_step_is_traced_once(task, tmp_path):
    config = dataclasses.replace(SMALL, task=task)
    init, step = graph.make(config)
    traces = []

    @jit
    def counted(state):
        traces.append(1)
        return step(state)

    # It lies where a loaded one will, so that one program serves both.
    state = jax.device_put(jit(init)(jax.random.key(0)), jax.devices()[0])
    for i in range(4):
        state, metrics = counted(state)
        if i == 1:
            loop.Checkpoints(tmp_path).save(2, state)
    assert len(traces) == 1
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))
    _, loaded = loop.Checkpoints(tmp_path).load_newest(jax.eval_shape(init, jax.random.key(0)))
    for _ in range(2):
        loaded, _ = counted(loaded)
    data = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(data(a), data(b))
    (picture,) = graph.pictures(config)(state).values()
    assert picture.dtype == np.uint8
    if task == "atlas":
        found = graph.evaluate(config, state)
        assert found["pairs"] == 1253 * 1252 / 2
        assert found["pairs that 1-WL does not separate"] == 26
        assert found["greatest distance where 1-WL does not separate"] < 1e-4
        same = graph.evaluate(config, state._replace(params=jax.tree.map(jnp.zeros_like, state.params)))
        assert same["pairs separated by only one of the two"] == found["pairs"] - 26
    with jax.enable_x64(True):
        init, step = graph.make(config)
        before = jax.eval_shape(init, jax.random.key(0))
        after, _ = jax.eval_shape(step, before)
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, before)


@pytest.mark.filterwarnings("ignore:The hashes produced")
def test_classes_of_the_atlas_are_those_of_networkx():
    graphs = networkx.graph_atlas_g()[1:]
    batch = G.batch_np([G.from_networkx(g) for g in graphs])
    found = _atlas.colours(batch.senders.tolist(), batch.receivers.tolist(), batch.n_node.tolist())
    hashes = [networkx.weisfeiler_lehman_graph_hash(g, iterations=4) for g in graphs]
    assert len(set(found)) == len(set(hashes)) == len(set(zip(found, hashes, strict=True))) == 1226
    # Two triangles and a hexagon have one class.
    pair = G.batch_np([G.from_networkx(networkx.cycle_graph(6)), *[G.from_networkx(networkx.cycle_graph(3))] * 2])
    assert _atlas.colours(pair.senders.tolist(), pair.receivers.tolist(), [6, 6]) == [0, 0]


def test_shortest_paths_are_those_of_networkx_and_the_judge_follows_edges():
    drawn = jit(_paths.draw, static_argnums=(1, 2))(jax.random.key(3), 2, 7)
    distance, lengths = np.asarray(drawn.distance), np.asarray(drawn.graph.edges)
    senders, receivers = np.asarray(drawn.graph.senders), np.asarray(drawn.graph.receivers)
    world = networkx.Graph()
    for s, r, w in zip(senders.tolist(), receivers.tolist(), lengths[:, 0].tolist(), strict=True):
        world.add_edge(s, r, weight=min(w, world.get_edge_data(s, r, {"weight": w})["weight"]))
    for source in (0, 7):
        for node, length in networkx.single_source_dijkstra_path_length(world, source).items():
            assert distance[node] == pytest.approx(length, rel=1e-5)
    slack = distance[senders] + lengths[:, 0] - distance[receivers]
    right = jit(_paths.right)
    assert np.all(right(drawn, -slack))
    wrong = ~np.asarray(right(drawn, slack))
    degree = np.array([len({i for i, r in enumerate(receivers) if r == v}) for v in range(14)])
    assert not wrong[[0, 7]].any()
    assert wrong[degree > 1].sum() >= (degree > 1).sum() - 2


def test_energies_of_atomisation_are_those_that_ase_has():
    known = [name for name in g2.molecule_names if name in g2.data_g2_1]
    assert len(known) == 55
    for name in known:
        assert _molecules.atomisation_energy(name) == pytest.approx(g2.get_atomization_energy(name), abs=1e-6)


def learned(config, steps):
    init, step = graph.make(config)
    run = jax.jit(lambda key: jax.lax.fori_loop(0, steps, lambda _, s: step(s)[0], init(key)))
    return graph.evaluate(config, run(jax.random.key(0)))


def test_paths_on_larger_graphs_are_learned_better_than_by_the_shortest_edge(monkeypatch):
    monkeypatch.setattr(_paths, "TIMES", (2,))
    found = learned(graph.Config("paths", units=16, layers=5, nodes=8, batch_size=16, decay_steps=300), 300)
    assert found["right of graphs with 16 nodes"] > 0.75 > 0.6 > found["right by the shortest edge, 16 nodes"]
    assert found["right along the whole path, 16 nodes"] <= found["right of graphs with 16 nodes"]


def test_molecules_are_learned_better_than_by_the_mean():
    found = learned(graph.Config("molecules", learning_rate=1e-3, decay_steps=100, units=16), 100)
    assert found["mean absolute error, held out"] < 0.3 * found["of the mean"]
    assert found["molecules held out"] == 30


def test_the_command_learns_the_karate_club_and_reports_it(tmp_path, capsys):
    arguments = ["train", "graph", "--preset", "karate", "--directory", str(tmp_path / "run"), "--quiet"]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["measures"]["members right"] >= 33
    assert "karate at step 300" in (tmp_path / "run" / "report.html").read_text()
    assert main(["eval", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(("task", "module"), [("karate", "networkx"), ("molecules", "ase.data.g2")])
def test_a_missing_package_is_named_with_its_extra(task, module, monkeypatch):
    _molecules.load.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(loop.RunError, match=rf"graph: {module} is missing: pip install 'renga\[all\]'"):
        graph.make(dataclasses.replace(SMALL, task=task))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "chess"}, "graph: task must be one of atlas, karate, paths, molecules, got 'chess'"),
        ({"units": 0}, "graph: units must be >= 1, got 0"),
        ({"nodes": 1}, "graph: nodes must be >= 2, got 1"),
        ({"fold": 5}, r"graph: fold must be in \[0, 5\), got 5"),
        ({"noise": -1.0}, "graph: noise must be >= 0, got -1.0"),
        ({"learning_rate": 0.0}, "graph: learning_rate must be > 0, got 0.0"),
    ],
)
def test_a_config_that_cannot_be_is_said(changes, message, unchecked):
    with pytest.raises(loop.RunError, match=message):
        graph.make(dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("task", ["paths", "molecules"])
def test_a_trained_network_goes_to_a_file_and_back_and_takes_other_graphs(task, tmp_path):
    config = dataclasses.replace(SMALL, task=task)
    state = jit(graph.make(config)[0])(jax.random.key(0))
    graph.export(config, state, tmp_path / "network.safetensors")
    network = graph.load(tmp_path / "network.safetensors")
    network.save(tmp_path / "again.safetensors")
    assert graph.load(tmp_path / "again.safetensors").config == config
    batch = jax.tree.map(np.asarray, network.example)
    if task == "paths":
        logits, lengths = network(batch)
        twice = G.batch([batch, batch])
        for one, two in zip((logits, lengths), network(twice), strict=True):
            np.testing.assert_allclose(two, np.concatenate([one, one]), rtol=1e-5, atol=1e-5)
        form = r"graph.edges must have the form \('N', 1\), got None"
        wrong = batch._replace(edges=None)
    else:
        energies = network(batch)
        one = G.unbatch_np(batch)[9]
        np.testing.assert_allclose(network(one), energies[9:10], rtol=1e-4)
        form = r"graph.nodes must have the form .*'position': \('N', 3\).*, got \('N', 3\)"
        wrong = one._replace(nodes=one.nodes["position"])
    with pytest.raises(ValueError, match=form):
        network(wrong)
