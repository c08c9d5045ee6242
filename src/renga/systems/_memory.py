"""What an agent can remember with: cores of `renga.nn` by name."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import PyTree

from renga import nn

Memory = Literal["none", "lstm", "gru", "rnn"]
NAMES = ("none", "lstm", "gru", "rnn")


def core(memory: str, units: int) -> nn.RNNCore:
    """A core that forgets where an episode begins: it takes inputs `[B, D]` and whether each is an episode's first."""
    return nn.ResetCore(_plain(memory, units))


def initial(memory: str, units: int) -> Callable[[int], PyTree]:
    """Returns what gives the memory of a batch in which every episode begins."""
    if memory == "none":
        return lambda num: ()
    fresh = nn.without_apply_rng(nn.transform(lambda num: _plain(memory, units).initial_state(num)))
    return lambda num: fresh.apply({}, num)


def _plain(memory: str, units: int) -> nn.RNNCore:
    return {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.VanillaRNN}[memory](units)
