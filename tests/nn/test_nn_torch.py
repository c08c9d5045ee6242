"""Small models of PyTorch's, carried over by a map of names: the same outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

torch = pytest.importorskip("torch")

KEY = jax.random.key  # called late: no array is made at import


def array(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def check(model, f, names, *inputs, atol=1e-5):
    """Runs both on the same inputs, ours with the weights of theirs."""
    for parameter in model.parameters():  # norms start at 1 and 0, which shows no mistake
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    f = nn.without_apply_rng(nn.transform(f))
    shapes = jax.eval_shape(f.init, KEY(0), *inputs)
    params = nn.interop.params_from_torch(model.state_dict(), names, shapes)
    with torch.no_grad():
        expected = model(*map(torch.from_numpy, inputs))
    expected = expected[0] if isinstance(expected, tuple) else expected
    np.testing.assert_allclose(f.apply(params, *inputs), expected.numpy(), atol=atol)


def test_lstm():
    def f(xs):
        core = nn.LSTM(4)
        return nn.dynamic_unroll(core, xs, core.initial_state(2))[0]

    names = {
        "lstm/linear/w": (("weight_ih_l0", "weight_hh_l0"), "lstm"),
        "lstm/linear/b": (("bias_ih_l0", "bias_hh_l0"), "lstm"),
    }
    check(torch.nn.LSTM(3, 4), f, names, array(5, 2, 3))


def test_vanilla_rnn():
    def f(xs):
        core = nn.VanillaRNN(4)
        return nn.dynamic_unroll(core, xs, core.initial_state(2))[0]

    names = {
        "vanilla_rnn/linear/w": "weight_ih_l0",
        "vanilla_rnn/linear/b": "bias_ih_l0",
        "vanilla_rnn/linear_1/w": "weight_hh_l0",
        "vanilla_rnn/linear_1/b": "bias_hh_l0",
    }
    check(torch.nn.RNN(3, 4, nonlinearity="relu"), f, names, array(5, 2, 3))


def test_gru_that_resets_before_the_product():
    """The cell of Cho et al. (torch.nn.GRU resets after the product: another function, whose weights do not carry)."""

    class GRU(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for gate in "zra":
                setattr(self, f"w_{gate}", torch.nn.Linear(3, 4))
                setattr(self, f"u_{gate}", torch.nn.Linear(4, 4, bias=False))

        def forward(self, xs):
            h, out = torch.zeros(xs.shape[1], 4), []
            for x in xs:
                z, r = (torch.sigmoid(getattr(self, f"w_{g}")(x) + getattr(self, f"u_{g}")(h)) for g in "zr")
                a = torch.tanh(self.w_a(x) + self.u_a(r * h))
                h = (1 - z) * h + z * a
                out.append(h)
            return torch.stack(out)

    def f(xs):
        core = nn.GRU(4)
        return nn.dynamic_unroll(core, xs, core.initial_state(2))[0]

    joined = lambda *arrays: np.concatenate(arrays).T
    names = {
        "gru/w_i": (tuple(f"w_{g}.weight" for g in "zra"), joined),
        "gru/w_h": (tuple(f"u_{g}.weight" for g in "zra"), joined),
        "gru/b": (tuple(f"w_{g}.bias" for g in "zra"), joined),
    }
    check(GRU(), f, names, array(5, 2, 3))


def test_attention():
    class Attention(torch.nn.MultiheadAttention):
        def forward(self, x):
            return super().forward(x, x, x, need_weights=False)

    def f(x):
        return nn.MultiHeadAttention(2, 3, 1.0, name="mha")(x, x, x)

    names = {f"mha/{part}/w": ("in_proj_weight", part) for part in ("query", "key", "value")}
    names |= {f"mha/{part}/b": ("in_proj_bias", part) for part in ("query", "key", "value")}
    names |= {"mha/linear/w": "out_proj.weight", "mha/linear/b": "out_proj.bias"}
    check(Attention(6, 2, batch_first=True), f, names, array(2, 5, 6))


def test_embedding_layer_norm_and_linear():
    model = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 3))

    def f(ids):
        return nn.Linear(3)(nn.LayerNorm(-1, True, True)(nn.Embed(7, 4)(ids)))

    names = {
        "embed/embeddings": "0.weight",
        "layer_norm/scale": "1.weight",
        "layer_norm/offset": "1.bias",
        "linear/w": "2.weight",
        "linear/b": "2.bias",
    }
    check(model, f, names, np.array([[1, 2, 6], [0, 3, 3]], np.int32))


def test_group_norm_and_convolutions_with_channels_first():
    model = torch.nn.Sequential(torch.nn.GroupNorm(2, 4), torch.nn.Conv1d(4, 6, 3, padding=1, groups=2))

    def f(x):
        x = nn.GroupNorm(2, data_format="channels_first")(x)
        return nn.Conv1D(6, 3, feature_group_count=2, data_format="NCW")(x)

    names = {
        "group_norm/scale": "0.weight",
        "group_norm/offset": "0.bias",
        "conv1_d/w": "1.weight",
        "conv1_d/b": "1.bias",
    }
    check(model, f, names, array(2, 4, 5))


def test_what_does_not_fit_is_listed():
    params = {"lstm/linear": {"w": jnp.zeros([7, 16]), "b": jnp.zeros(16)}}
    names = {"lstm/linear/w": (("weight_ih_l0", "nothing"), "lstm"), "lstm/linear/b": ("bias_ih_l0", "sideways")}
    with pytest.raises(ValueError, match="nothing") as error:
        nn.interop.params_from_torch(torch.nn.LSTM(3, 4).state_dict(), names, params)
    assert "unknown kind 'sideways'" in str(error.value)
