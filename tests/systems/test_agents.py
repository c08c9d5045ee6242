"""Trained agents as objects: they act, on one observation or a batch, and are kept in files."""

import dataclasses
import inspect
import json
import os

import gymnasium
import jax
import numpy as np
import pytest

from renga import envs, loop, nn, systems
from renga.cli import _export
from renga.systems import _agent, actor_critic, d4pg, dqn, mpo, pqn, sac, td3
from renga.systems._inputs import batch_of

REPLAY = {"num_envs": 2, "replay_size": 32, "warmup": 8, "batch_size": 4, "units": (4,)}
PPO = actor_critic.Config(num_envs=2, rollout_length=4, units=(4,), minibatches=1, epochs=1, memory_units=4)
AGENTS = {
    "dqn": (dqn, dqn.Config(env="catch", **REPLAY, distribution="quantile", num_atoms=3)),
    "dqn on a table": (dqn, dqn.Config(env="grid/sparse", **REPLAY)),
    "dqn with memory": (
        dqn,
        dqn.Config(
            env="catch", **{**REPLAY, "warmup": 12}, memory="rnn", noisy=0.5, memory_units=4, trace_length=2, burn_in=1
        ),
    ),
    "pqn": (pqn, pqn.Config(num_envs=2, units=(4,), normalise_observations=True)),
    "sac": (sac, sac.Config(**REPLAY)),
    "sac of choices": (sac, sac.Config(env="catch", **REPLAY)),
    "td3": (td3, td3.Config(**REPLAY)),
    "d4pg": (d4pg, d4pg.Config(**REPLAY, num_atoms=3)),
    "mpo": (mpo, mpo.Config(**REPLAY, num_samples=2)),
    "mpo of choices": (mpo, mpo.Config(env="catch", **REPLAY, num_samples=2)),
    "ppo": (actor_critic, PPO),
    "ppo with memory": (actor_critic, dataclasses.replace(PPO, memory="lstm", env="catch")),
    "ppo of numbers": (
        actor_critic,
        dataclasses.replace(PPO, env="pendulum", policy="tanh", normalise_observations=True),
    ),
}


@pytest.fixture(scope="module")
def trained():
    """The config and the state of each, not trained much; without worlds and replay, which agents do not take."""
    states = {}

    def begun(init):
        def begin(key):
            state = init(key)
            return state._replace(**dict.fromkeys({"env", "recent", "replay"} & set(state._fields)))

        return jax.jit(begin)(jax.random.key(0))

    def of(name):
        if name not in states:
            system, config = AGENTS[name]
            states[name] = system, config, begun(system.make(config)[0])
        return states[name]

    return of


def observations(env, num):
    begin = jax.jit(jax.vmap(lambda key: env.observe(env.reset(key))))
    return np.asarray(begin(jax.random.split(jax.random.key(5), num)))


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_acts_and_comes_back_from_its_file_as_it_was(name, trained, tmp_path):
    system, config, state = trained(name)
    path = tmp_path / "agent.safetensors"
    system.export(config, state, str(path))
    agent = system.load(path)
    assert agent.config == config
    assert list(inspect.signature(agent.evaluate).parameters) == ["episodes", "seed"], "of its own parameters"
    assert not hasattr(agent, "export"), "it has save"
    jax.tree.map(np.testing.assert_array_equal, agent.params, system.Agent.learned(config, state))
    s, spec = observations(agent.env, 3), agent.env.action_spec
    remembers = getattr(config, "memory", "none") != "none"
    call = lambda agent, *args, **named: agent.act(*args, **named) if remembers else (agent.act(*args, **named), None)
    a, memory = call(agent, s)
    assert a.shape == (3, *spec.shape)
    one, _ = call(agent, s[1])
    if isinstance(spec, envs.Discrete):
        assert type(one) is int
        assert spec.contains(np.int32(one))
    else:
        assert spec.contains(one)
    np.testing.assert_allclose(one, a[1], rtol=1e-5)
    drawn = [np.asarray(call(agent, s, key=jax.random.key(i))[0]) for i in range(5)]
    assert all(spec.contains(x) for x in np.concatenate(drawn).astype(spec.dtype))
    if remembers:
        _, after = agent.act(s, memory=memory)
        assert any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (memory, after)), strict=True))
        with pytest.raises(ValueError, match="Agent.act: memory must be what the last call with 2 observations"):
            agent.act(s[:2], memory=memory)
    agent.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_run_is_loaded_exported_and_loaded_again(tmp_path, capsys):
    config, run = dataclasses.replace(PPO, rollout_length=2), tmp_path / "run"
    loop.run(actor_critic.make, config, steps=1, directory=run, system="actor_critic", show=False)
    agent = actor_critic.load(run)
    assert agent.config == config
    file = tmp_path / "new" / "sub" / "file"
    assert _export.run([str(run), str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    s = observations(agent.env, 40)
    np.testing.assert_array_equal(agent.act(s), actor_critic.load(file).act(s))
    with pytest.raises(loop.RunError, match="must be a run of td3, got one of actor_critic"):
        td3.load(run)
    saved = json.loads((run / "config.json").read_text())
    for change, message in (
        ({"env": "cath"}, "'cath'"),
        ({"num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"num_envs": "many"}, "num_envs must be int"),
        ({"unknown": 1}, "has no field unknown"),
        ({"units": [5]}, "does not fit this system and config"),
    ):
        (run / "config.json").write_text(json.dumps(saved | {"config": saved["config"] | change}))
        with pytest.raises(loop.RunError, match=f"(?s){run}.*{message}"):
            actor_critic.load(run)


def test_legal_actions_only_are_chosen_with_and_without_a_key(trained):
    for name in ("dqn", "ppo", "mpo of choices", "sac of choices"):
        system, config, state = trained(name)
        agent = system.Agent(config, system.Agent.learned(config, state))
        s, n = observations(agent.env, 50), envs.num_actions(agent.env)
        legal = np.tile(np.arange(n) == n - 1, (50, 1))
        assert np.all(agent.act(s, legal) == n - 1)
        assert np.all(agent.act(s, legal, key=jax.random.key(0)) == n - 1)
        assert agent.act(s[0], legal[0]) == n - 1


@pytest.mark.parametrize(
    ("name", "observation", "legal", "message"),
    [
        ("dqn", np.zeros((5, 10)), None, r"observation must have shape \(10, 5\), or that with a batch axis, got"),
        (
            "dqn",
            np.zeros((10, 5)),
            np.ones(2),
            r"legal must have shape \(1, 3\), one flag for each action, got \(1, 2\)",
        ),
        ("dqn", np.zeros((10, 5)), np.zeros(3), "legal must allow an action in every state"),
        ("dqn", np.zeros((10, 5)), [0, 1, 2], r"legal must have flags, 0 or 1 for each action, got \[\[0, 1, 2\]\]"),
        ("dqn", np.zeros((10, 5)), [1, np.nan, 1], "legal must have flags"),
        ("dqn", np.full((10, 5), np.nan), None, "observation must be a number, got nan"),
        ("dqn", np.zeros((0, 10, 5)), None, "observation must be one or more, got an empty batch"),
        ("dqn on a table", 1.0, None, "observation must be of integers, as Discrete.* says, got float32"),
        ("dqn on a table", 10**6, None, "observation must be in"),
        ("sac", np.zeros(3), np.ones(3), "legal must be None where actions are continuous"),
        ("ppo of numbers", np.zeros(4), None, r"observation must have shape \(3,\)"),
    ],
)
def test_what_an_agent_cannot_act_on_is_said(name, observation, legal, message, trained):
    system, config, state = trained(name)
    agent = system.Agent(config, system.Agent.learned(config, state))
    with pytest.raises(ValueError, match=f"Agent.act: {message}"):
        agent.act(observation, legal)


def test_what_has_no_numbers_is_no_observation_and_pixels_are_not_rounded_or_wrapped(trained):
    system, config, state = trained("dqn")
    agent = system.Agent(config, system.Agent.learned(config, state))
    for observation, came in ((None, "NoneType"), ("abc", "str"), (np.zeros((10, 5), complex), "complex64")):
        with pytest.raises(TypeError, match=f"Agent.act: observation must be an array of numbers, got {came}"):
            agent.act(observation)
    with pytest.raises(ValueError, match=r"Agent.act: memory must be None for an agent that remembers nothing, got"):
        agent.act(np.zeros((10, 5)), memory=3)
    pixels = envs.Gymnasium("bytes", factory=_bytes)
    for observation, message in (
        (np.full(4, 0.9), r"observation must be of integers, as Box\(.*uint8.* says, got float32"),
        ([0, 0, 300, 0], r"observation must be in \[0, 255\], got 300"),
        ([0, 0, -1, 0], r"observation must be in \[0, 255\], got -1"),
    ):
        with pytest.raises(ValueError, match=f"act: {message}"):
            batch_of("act", pixels, observation)
    assert batch_of("act", pixels, [0, 255, 3, 4])[1].tolist() == [[0, 255, 3, 4]]


def _bytes():
    """A world that tells four bytes."""
    world = gymnasium.Env()
    world.observation_space = gymnasium.spaces.Box(0, 255, (4,), np.uint8)
    world.action_space = gymnasium.spaces.Discrete(2)
    return world


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_key_is_said(trained):
    system, config, state = trained("pqn")
    agent = system.Agent(config, system.Agent.learned(config, state))
    s = observations(agent.env, 2)
    message = r"^Agent.act: key must be None, or one key such as jax.random.key\(0\), got "
    for key, got in (
        (0, "int"),
        ([0, 1], "list"),
        (np.uint32(3), r"uint32 of shape \(\)"),
        (jax.random.split(jax.random.key(0), 2), r"key<fry> of shape \(2,\)"),
    ):
        with pytest.raises(TypeError, match=message + got):
            agent.act(s, key=key)
    assert agent.act(s, key=jax.random.PRNGKey(0)).shape == (2,)


def test_a_file_of_another_system_is_said(tmp_path, trained):
    system, config, state = trained("td3")
    system.export(config, state, str(tmp_path / "td3"))
    with pytest.raises(loop.RunError, match="load: .* must be of the system sac, got one of td3"):
        sac.load(tmp_path / "td3")


@pytest.mark.parametrize("name", systems.names())
def test_what_no_system_has_written_is_said_by_all(name, tmp_path):
    system = systems.get(name)
    nn.save(tmp_path / "params", {"params": {"w": np.ones(3)}})
    (tmp_path / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    for file, message in (
        ("nothing", "must be the directory of a run, or a file that `renga export`"),
        ("pipe", "must be the directory of a run, or a file that `renga export`"),
        ("params", "must hold 'config' and 'params', it holds params$"),
        ("config.json", "cannot be read: .* is not a safetensors file"),
    ):
        with pytest.raises(loop.RunError, match=f"^load: {tmp_path / file} {message}"):
            system.load(tmp_path / file)


@pytest.fixture(scope="module")
def parts(trained, tmp_path_factory):
    """The bytes of a file, its config and its parameters."""
    system, config, state = trained("pqn")
    path = tmp_path_factory.mktemp("whole") / "pqn"
    system.export(config, state, path)
    found = nn.load(path)
    return path.read_bytes(), json.loads(np.asarray(found["config"]).tobytes()), found["params"]


def test_a_file_that_was_damaged_is_said(parts, tmp_path):
    data, path = parts[0], tmp_path / "pqn"
    header = 8 + int.from_bytes(data[:8], "little")
    for cut in (0, 4, 8, 9, header // 2, header, header + 1, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(loop.RunError, match=f"^load: {path} cannot be read: "):
            pqn.load(path)
    for at in (0, 7, 8, header // 2, header + 20, (header + len(data)) // 2, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(loop.RunError, match=f"^load: {path} cannot be read: "):
            pqn.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: [config], "is damaged: its config must be an object, got list"),
        (lambda config: 3, "is damaged: its config must be an object, got int"),
        (lambda config: config | {"unknown": 1}, "this version of renga.systems.pqn has no field unknown"),
        (lambda config: config | {"num_envs": "many"}, "num_envs must be int, got 'many'"),
        (lambda config: config | {"num_envs": 0}, "num_envs must be >= 1, got 0"),
        (lambda config: config | {"env": "cath"}, "the config in .* cannot be: .*'cath'"),
        (lambda config: config | {"units": [5]}, r"do not fit its config:\n.* must have the shape \[.*5\], got"),
        (lambda config: config | {"normalise_observations": False}, "do not fit its config:"),
    ],
)
def test_a_file_whose_config_is_another_is_said(change, message, parts, tmp_path):
    text = json.dumps(change(parts[1])).encode()
    nn.save(tmp_path / "pqn", {"config": np.frombuffer(text, np.uint8), "params": parts[2]})
    with pytest.raises(loop.RunError, match=f"(?s)^load: .*{message}") as error:
        pqn.load(tmp_path / "pqn")
    assert str(tmp_path / "pqn") in str(error.value)


def test_a_file_without_all_parameters_is_said(parts, tmp_path):
    text = np.frombuffer(json.dumps(parts[1]).encode(), np.uint8)
    names = [jax.tree_util.keystr(at, simple=True, separator="/") for at, _ in jax.tree.leaves_with_path(parts[2])]
    assert names
    for config, params, message in (
        (text, {}, f"{names[0]} is missing"),
        (text, parts[2] | {"more": {"w": np.ones(2)}}, "more/w is none of them"),
        (text, np.ones(2), "is missing"),
        (np.frombuffer(b"\xff{", np.uint8), parts[2], "is damaged: its config is no JSON"),
        ({"a": np.ones(2)}, parts[2], "is damaged: its config is no JSON"),
    ):
        nn.save(tmp_path / "pqn", {"config": config, "params": params})
        with pytest.raises(loop.RunError, match=f"(?s)^load: .*{message}"):
            pqn.load(tmp_path / "pqn")


def test_a_file_is_not_written_where_none_can_be(trained, tmp_path):
    system, config, state = trained("pqn")
    for name, message in (("", "path must be that of a file"), ("no/x", "path must be in a directory that exists")):
        with pytest.raises(loop.RunError, match=f"^save: {message}, got .*{tmp_path / name}"):
            system.Agent(config, system.Agent.learned(config, state)).save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


@pytest.mark.usefixtures("unchecked")
def test_episodes_of_an_evaluation_can_be_chosen():
    config = pqn.Config(env="catch", units=(4,))
    state = jax.jit(pqn.make(config)[0])(jax.random.key(0))
    found = pqn.evaluate(config, state, episodes=8, seed=3)
    assert pqn.Agent(config, state.params).evaluate(episodes=8, seed=3) == found
    assert found["greedy return, least of 8"] <= found["greedy return (IQM, 2.5 %)"] <= found["greedy return (IQM)"]
    for options, message in (
        ({"episodes": 0}, r"episodes must be an integer in \[1, 1000000\], got 0"),
        ({"episodes": 2.0}, r"episodes must be an integer in \[1, 1000000\], got 2.0"),
        ({"episodes": "3"}, r"episodes must be an integer in \[1, 1000000\], got '3'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 0.5}, "seed must be"),
    ):
        with pytest.raises(loop.RunError, match=message):
            pqn.evaluate(config, state, **options)


def test_episodes_that_an_evaluation_cuts_are_said(monkeypatch):
    monkeypatch.setattr(_agent, "MOST_STEPS", 3)
    config = pqn.Config(env="catch", units=(4,))
    state = jax.jit(pqn.make(config)[0])(jax.random.key(0))
    with pytest.warns(RuntimeWarning, match="evaluate: 7 of 7 episodes of catch did not end within 3 steps"):
        found = pqn.evaluate(config, state, episodes=7)
    assert found["greedy return"] == 0
