"""transform and what it promises: names, purity, errors that teach, init without execution."""

import asyncio
import inspect
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

KEY = jax.random.key(0)
X = jnp.ones([2, 3])


def test_all_is_complete():
    modules = {
        "config",
        "data_structures",
        "experimental",
        "initializers",
        "interop",
        "nets",
        "pad",
        "testing",
        "typing",
    }
    public = {n for n, v in vars(nn).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert public | modules | {"mixed_precision"} == set(nn.__all__)
    assert len(nn.__all__) == len(set(nn.__all__))


class Names(nn.Module):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.inner = nn.Linear(2)

    def __call__(self, x):
        return self.encode(self.inner(x)), nn.Linear(2)(x)

    def encode(self, x):
        return nn.Linear(2)(x)


def test_names_say_in_which_method_a_module_was_made():
    f = nn.transform(lambda x: (Names()(x), Names()(x)))
    assert list(f.init(KEY, X)) == [
        "names/~/linear",
        "names/~encode/linear",
        "names/linear",
        "names_1/~/linear",
        "names_1/~encode/linear",
        "names_1/linear",
    ]


def test_block_draws_are_those_of_jax_random_for_large_arrays():
    init = nn.initializers.RandomNormal()
    f = nn.transform(lambda: nn.get_parameter("w", [3, 8191], init=init))
    w = nn.abstract_init(f)(KEY)["~"]["w"]
    key = jax.random.split(KEY)[1]
    np.testing.assert_array_equal(w, jax.random.normal(key, [3, 8191]))


def test_apply_changes_neither_params_nor_state():
    f = nn.transform_with_state(lambda x: nn.BatchNorm(True, True, 0.9)(x, True))
    params, state = f.init(None, X)
    before = jax.tree.map(lambda x: x, state)
    _, after = f.apply(params, state, None, X)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), before, state))
    assert after["batch_norm/~/mean_ema"]["counter"] == 1


@pytest.mark.parametrize("stats", ["update", "freeze", "use"])
def test_batch_norm_state_is_a_choice_per_call(stats):
    f = nn.transform_with_state(lambda x: nn.BatchNorm(False, False, 0.9)(x, True, stats=stats))
    x = jnp.array([[1.0], [3.0]])
    params, state = f.init(None, x)
    y, after = f.apply(params, state, None, x)
    moved = int(after["batch_norm/~/mean_ema"]["counter"])
    assert moved == (stats == "update")
    np.testing.assert_allclose(y, jnp.array([[-1.0], [1.0]]), atol=1e-4)  # "use": the averages of the first batch


def test_cross_replica_batch_norm_sees_the_whole_batch_over_nested_axes():
    def f(x, axes):
        return nn.BatchNorm(False, False, 0.9, cross_replica_axis=axes)(x, True)

    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    one = nn.transform_with_state(lambda x: f(x, None))
    many = nn.transform_with_state(lambda x: f(x, ("i", "j")))
    params, state = jax.jit(many.init)(None, x[0, 0])  # no axis is mapped here
    apply = lambda x: many.apply(params, state, None, x)
    y, new = jax.jit(jax.vmap(jax.vmap(apply, axis_name="j"), axis_name="i"))(x)
    expected, new_one = jax.jit(one.apply)(params, state, None, x.reshape(24, 5))
    np.testing.assert_allclose(y.reshape(24, 5), expected, atol=1e-5)
    variance = new["batch_norm/~/var_ema"]["hidden"]
    np.testing.assert_allclose(variance[1, 2], new_one["batch_norm/~/var_ema"]["hidden"], rtol=1e-5)


# --- errors ----------------------------------------------------------------------------------------


def test_missing_parameters_are_all_listed():
    f = nn.transform(lambda x: nn.nets.MLP([4, 2])(x))
    params = f.init(KEY, X)
    del params["mlp/~/linear_1"]
    params["other"] = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="linear_1") as error:
        f.apply(params, None, X)
    assert "mlp/~/linear_1/w [4, 2]" in str(error.value)
    assert "other/w [3]" in str(error.value)


def test_a_parameter_of_another_shape_is_refused():
    f = nn.transform(lambda x: nn.Linear(4)(x))
    params = f.init(KEY, X)
    with pytest.raises(
        ValueError, match=r"'linear/w' must have shape \(5, 4\) here, and `params` holds one of shape \(3, 4\)"
    ):
        f.apply(params, None, jnp.ones([2, 5]))


def test_two_modules_under_one_name_are_refused():
    f = nn.transform(lambda x: (nn.Linear(1, name="a_1")(x), nn.Linear(1, name="a_1")(x)))
    with pytest.raises(ValueError, match="not unique"):
        f.init(KEY, X)


def test_a_missing_key_says_where_to_pass_it():
    f = nn.transform(nn.next_rng_key)
    with pytest.raises(nn.MissingRNGError, match="pass a key"):
        f.apply({}, None)


def test_capture_without_the_state_says_that_one_is_expected():
    f = nn.transform(lambda x: nn.Linear(2)(x))
    params, x = f.init(KEY, jnp.ones(3)), jnp.ones(3)
    look = nn.capture(f)
    assert list(look(params, {}, None, x).outputs) == list(look(params, None, None, x).outputs) == ["linear"]
    signature = r"captured\(params, state, rng, \*args"
    with pytest.raises(TypeError, match=r"capture: state must be a mapping .* or None .*, got .*key.*" + signature):
        look(params, KEY, x)
    with pytest.raises(ValueError, match=r"capture: rng must be a random key or None, got .*3.*" + signature):
        look(params, None, x)


@pytest.mark.parametrize("transform", [nn.transform, nn.transform_with_state])
def test_what_looks_inside_takes_functions_without_a_key(transform):
    keyed = transform(lambda x: nn.Linear(2)(x))
    f, x = nn.without_apply_rng(keyed), jnp.ones(3)
    params = keyed.init(KEY, x)[0] if transform is nn.transform_with_state else keyed.init(KEY, x)
    assert nn.summary(f, x) == nn.summary(keyed, x)
    assert len(nn.experimental.eval_summary(f)(x)) == 1
    nn.check_params(f, params, x)
    captured = nn.capture(f)(params, {}, None, x)
    np.testing.assert_array_equal(captured.out, captured.outputs["linear"][0])
    np.testing.assert_array_equal(captured.out, nn.capture(keyed)(params, {}, None, x).out)


def test_capture_refuses_perturbations_of_calls_that_were_not_made():
    f = nn.transform(lambda x: nn.Linear(2)(x))
    params, x = f.init(KEY, jnp.ones(3)), jnp.ones(3)
    look = nn.capture(f)
    for wrong in ({"liner": [jnp.ones(2)]}, {"linear": [jnp.ones(2), jnp.ones(2)]}):
        with pytest.raises(ValueError, match=r"capture: perturbations must be for calls .*liner?.*captured of: linear"):
            look(params, None, None, x, perturbations=wrong)


def test_state_in_transform_says_to_use_transform_with_state():
    f = nn.transform(lambda: nn.set_state("s", 1.0))
    with pytest.raises(nn.NonEmptyStateError, match="transform_with_state"):
        f.init(None)


def test_modules_outside_of_transform_are_refused():
    with pytest.raises(ValueError, match="Linear: a module keeps its parameters in the function"):
        nn.Linear(3)


WRONG = {
    "nn.vmap": lambda f, x: jax.vmap(f)(x),
    "jax.jit": lambda f, x: jax.jit(f)(x),
    "nn.grad": lambda f, x: jax.grad(lambda x: f(x).sum())(x),
    "nn.value_and_grad": lambda f, x: jax.value_and_grad(lambda x: f(x).sum())(x),
    "nn.remat": lambda f, x: jax.checkpoint(f)(x),
    "nn.scan": lambda f, x: jax.lax.scan(lambda c, y: (c, f(y)), 0.0, x),
    "nn.map": lambda f, x: jax.lax.map(f, x),
    "nn.cond": lambda f, x: jax.lax.cond(x.sum() > 0, f, f, x),
    "nn.switch": lambda f, x: jax.lax.switch(0, [f, f], x),
    "nn.while_loop": lambda f, x: jax.lax.while_loop(lambda y: y.sum() < 9, f, x),
    "nn.fori_loop": lambda f, x: jax.lax.fori_loop(0, 3, lambda i, y: f(y), x),
}


LEAKY = [twin for twin in WRONG if twin not in ("nn.vmap", "nn.grad", "nn.value_and_grad")]
LOOPS = ["nn.scan", "nn.map", "nn.while_loop", "nn.fori_loop"]


@pytest.mark.parametrize("twin", LEAKY)
def test_creating_inside_a_jax_transformation_names_its_twin(twin):
    f = nn.transform(lambda x: WRONG[twin](nn.Linear(3), x))
    with pytest.raises(nn.JaxUsageError, match=twin.replace(".", r"\.")):
        f.init(KEY, X)


@pytest.mark.parametrize("twin", LOOPS)
def test_drawing_inside_a_loop_of_jax_names_its_twin(twin):
    f = nn.transform(lambda x: WRONG[twin](lambda y: y + jax.random.uniform(nn.next_rng_key()), x))
    with pytest.raises(nn.JaxUsageError, match=twin.replace(".", r"\.")):
        f.apply({}, KEY, X)


@pytest.mark.parametrize("name", [n for n in WRONG if n != "nn.while_loop"])
def test_reading_inside_a_jax_transformation_works_in_apply(name):
    def f(x):
        layer = nn.Linear(3)
        return layer(x) if nn.running_init() else WRONG[name](layer, x)

    f = nn.transform(f)
    params = f.init(KEY, X)
    twice = [f.apply(jax.tree.map(lambda p, k=k: k * p, params), None, X) for k in (1.0, 2.0)]
    a, b = (jax.tree.leaves(y)[-1] for y in twice)
    assert not np.allclose(a, b) or not np.any(a)  # no parameters of an earlier call


def test_threads_and_tasks_do_not_mix():
    f = nn.transform(lambda x: nn.Linear(3)(x))
    failures = []

    def work():
        try:
            with pytest.raises(ValueError, match="transformed function"):
                nn.get_params()
            assert list(f.init(KEY, X)) == ["linear"]
        except BaseException as error:
            failures.append(error)

    def outer(x):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return nn.Linear(2)(x)

    assert list(nn.transform(outer).init(KEY, X)) == ["linear"]
    assert not failures

    async def task(n):
        await asyncio.sleep(0)
        return f.init(jax.random.key(n), X)

    async def main():
        return await asyncio.gather(*(task(n) for n in range(3)))

    assert len(asyncio.run(main())) == 3


# --- recipes ---------------------------------------------------------------------------------------


def test_an_ensemble_is_a_vmap_of_init_and_apply():
    f = nn.transform(lambda x: nn.nets.MLP([4, 2])(x))
    keys = jax.random.split(KEY, 3)
    params = jax.jit(jax.vmap(f.init, in_axes=(0, None)))(keys, X)
    y = jax.jit(jax.vmap(f.apply, in_axes=(0, None, None)))(params, None, X)
    assert y.shape == (3, 2, 2)
    one = jax.jit(f.init)(keys[1], X)
    np.testing.assert_allclose(params["mlp/~/linear_0"]["w"][1], one["mlp/~/linear_0"]["w"])


def test_layer_stack_is_the_loop_over_its_layers():
    def stacked(x):
        return nn.layer_stack(3, name="s")(lambda h: jnp.tanh(nn.Linear(3)(h)))(x)

    f = nn.transform(stacked)
    params = jax.jit(f.init)(KEY, X)
    layer = nn.transform(lambda h: jnp.tanh(nn.Linear(3)(h)))
    y, apply = X, jax.jit(layer.apply)
    for p in nn.unstack_layers(params, "s"):
        y = apply(p, None, y)
    np.testing.assert_allclose(jax.jit(f.apply)(params, None, X), y, rtol=1e-5)
    again = nn.stack_layers(nn.unstack_layers(params, "s"), "s")
    np.testing.assert_array_equal(again["s/linear"]["w"], params["s/linear"]["w"])


def test_bidirectional_rnn_respects_lengths():
    def f(xs, lengths):
        return nn.BidirectionalRNN(nn.GRU(2), nn.LSTM(3))(xs, lengths)[0]

    f = nn.transform(f)
    xs = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)

    @jax.jit
    def both(key, xs):
        params = f.init(key, xs, jnp.array([5, 3]))
        return f.apply(params, None, xs, jnp.array([5, 3])), f.apply(params, None, xs[:3, 1:], jnp.array([3]))

    y, alone = (np.asarray(x) for x in both(KEY, xs))
    np.testing.assert_allclose(y[:3, 1:], alone, atol=1e-6)
    assert not y[3:, 1].any()


def test_attention_with_a_cache_continues_a_sequence():
    def f(x, cache_size):
        layer = nn.GroupedQueryAttention(4, 2, key_size=4, cache_size=cache_size)
        return layer(x)

    whole = nn.transform_with_state(lambda x: f(x, None))
    pieces = nn.transform_with_state(lambda x: f(x, 8))
    x = jax.random.normal(KEY, [2, 5, 6])
    params, state = jax.jit(pieces.init)(KEY, x[:, :2])

    @jax.jit
    def both(params, state):
        expected, _ = whole.apply(params, {}, None, x)
        first, state = pieces.apply(params, state, None, x[:, :2])
        second, state = pieces.apply(params, state, None, x[:, 2:])
        return expected, first, second

    expected, first, second = both(params, state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), expected, atol=1e-5)


def test_rotated_products_depend_on_the_distance_only():
    q, k = jax.random.normal(KEY, [2, 1, 1, 8])
    product = lambda m, n: jnp.sum(nn.rotary_embedding(q, jnp.array([m])) * nn.rotary_embedding(k, jnp.array([n])))
    np.testing.assert_allclose(product(3, 1), product(9, 7), rtol=1e-4)


def test_mixed_precision_by_name_wins_over_class():
    half = nn.mixed_precision.Policy(compute_dtype=jnp.bfloat16, output_dtype=jnp.bfloat16)
    f = nn.transform(lambda x: nn.nets.MLP([4, 2])(x))
    params = jax.jit(f.init)(KEY, X)
    with nn.mixed_precision.push_policy("mlp/~/linear_1", half):
        assert f.apply(params, None, X).dtype == jnp.bfloat16
    assert f.apply(params, None, X).dtype == jnp.float32


# --- files -----------------------------------------------------------------------------------------


def test_saved_trees_come_back(tmp_path):
    tree = {
        "params": {"mlp/~/linear_0": {"w": jnp.ones([2, 3], jnp.bfloat16), "b": jnp.arange(3)}},
        "key": jax.random.key(3),
        "a.b": {"c/d": np.float16(2)},
    }
    nn.save(tmp_path / "x.safetensors", tree)
    back = nn.load(tmp_path / "x.safetensors")
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert back["params"]["mlp/~/linear_0"]["w"].dtype == jnp.bfloat16
    assert back["key"] == tree["key"]


def test_files_are_those_of_the_safetensors_package(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    nn.save(tmp_path / "ours", {"linear": {"w": w}})
    np.testing.assert_array_equal(safetensors.load_file(tmp_path / "ours")["linear.w"], w)
    safetensors.save_file({"layer.0.weight": w}, tmp_path / "theirs")
    np.testing.assert_array_equal(nn.load(tmp_path / "theirs")["layer.0.weight"], w)


@pytest.mark.parametrize("cut", [4, 40, 10_000])
def test_a_truncated_file_is_a_clear_error(tmp_path, cut):
    path = tmp_path / "x"
    nn.save(path, {"a": {"w": np.ones(5000, np.float32)}})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="cut off"):
        nn.load(path)


def test_every_documented_class_documents_its_arguments():
    for name in nn.__all__:
        value = getattr(nn, name)
        if inspect.isclass(value) and issubclass(value, nn.Module) and value is not nn.Module:
            assert "Example:" in value.__doc__ or inspect.isabstract(value), name


def test_weights_come_from_torch_with_their_layouts_changed():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ConvTranspose2d(4, 2, 2, stride=2),
        torch.nn.Flatten(),
        torch.nn.Linear(2 * 8 * 8, 5),
    ).eval()

    def f(x):
        x = nn.Conv2D(4, 3)(x)
        x = nn.BatchNorm(True, True, 0.9)(x, False)
        x = nn.Conv2DTranspose(2, 2, stride=2, padding="VALID")(x)
        x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)  # torch flattens channels first
        return nn.Linear(5)(x)

    f = nn.transform_with_state(f)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    params, state = jax.eval_shape(f.init, KEY, x)
    names = {
        "conv2_d/w": "0.weight",
        "conv2_d/b": "0.bias",
        "batch_norm/scale": "1.weight",
        "batch_norm/offset": "1.bias",
        "conv2_d_transpose/w": ("2.weight", "conv2d_transpose"),
        "conv2_d_transpose/b": "2.bias",
        "linear/w": "4.weight",
        "linear/b": "4.bias",
    }
    weights = nn.interop.params_from_torch(model.state_dict(), names, params)
    averages = {"mean_ema": "1.running_mean", "var_ema": "1.running_var"}
    state = jax.jit(f.init)(KEY, x)[1]
    for ema, source in averages.items():
        old = state[f"batch_norm/~/{ema}"]["average"]
        new = nn.interop.from_torch(model.state_dict()[source]).reshape(old.shape)
        state[f"batch_norm/~/{ema}"]["average"] = new
    ours, _ = jax.jit(f.apply)(weights, state, None, x)
    with torch.no_grad():
        theirs = model(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(ValueError, match="linear/b"):
        nn.interop.params_from_torch(model.state_dict(), {}, weights)


def test_dlpack_shares_memory_with_torch():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(1024, dtype=torch.float32)
    array = nn.interop.from_torch(tensor)
    assert array.unsafe_buffer_pointer() == tensor.data_ptr()
    assert nn.interop.to_torch(array).data_ptr() == tensor.data_ptr()
