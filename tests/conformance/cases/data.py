"""One tiny call of every public function of `renga.data`."""

import jax
import jax.numpy as jnp

from renga import data

from . import Case

KEY = jax.random.key(0)
ITEMS = jnp.array([1.0, 2.0, 3.0])


def _uniform(key, items):
    replay = data.UniformReplay(capacity=4)
    state = replay.add(replay.add(replay.init(items[0]), items), items)
    return state, replay.size(state), replay.sample(state, key, 3)


def _prioritised(key, items, priorities):
    replay = data.PrioritisedReplay(capacity=4)
    state = replay.add(replay.init(items[0]), items)
    state = replay.update_priorities(state, jnp.arange(3), priorities)
    return state, replay.size(state), replay.sample(state, key, 3)


def _sequences(key, items, last):
    replay = data.SequenceReplay(capacity=4, length=2)
    state = replay.add(replay.init(items[0], num_envs=1), items[:, None], last[:, None])
    return state, replay.num_sequences(state), replay.sample(state, key, 3)


def _prioritised_sequences(key, items, last):
    replay = data.PrioritisedSequenceReplay(capacity=4, length=2)
    state = replay.add(replay.init(items[0], num_envs=1), items[:, None], last[:, None])
    state = replay.update_priorities(state, jnp.array([0, 1]), jnp.array([3.0, 1.0]))
    return state, replay.num_sequences(state), replay.sample(state, key, 3)


CASES = {
    # What is drawn changes in steps with the priorities: only items carry derivatives.
    "PrioritisedReplay": Case(lambda key, items: _prioritised(key, items, jnp.array([3.0, 1.0, 2.0])), (KEY, ITEMS)),
    "PrioritisedSequenceReplay": Case(_prioritised_sequences, (KEY, ITEMS, jnp.array([False, True, False]))),
    "SequenceReplay": Case(_sequences, (KEY, ITEMS, jnp.array([False, True, False]))),
    "UniformReplay": Case(_uniform, (KEY, ITEMS)),
    "importance_weights": Case(lambda p, size, beta: data.importance_weights(p, size, beta), (ITEMS / 6, 3, 0.5)),
}

_RECORD = "a record of arrays"
_ON_HOST = "moves data from the host"
EXEMPT = {
    "DataError": "an exception",
    "DrawnSequences": _RECORD,
    "Feed": _ON_HOST,
    "Images": _RECORD,
    "PrioritisedSequenceState": _RECORD,
    "PrioritisedState": _RECORD,
    "ReplayState": _RECORD,
    "Sample": _RECORD,
    "SequenceState": _RECORD,
    "Sequences": _RECORD,
    "feed": _ON_HOST,
    "load_images": _ON_HOST,
}
