"""What a model computes: the tree of modules as Haiku finds it, and FLOPs by our own rules."""

import html.parser

import jax
import jax.numpy as jnp
import pytest

from renga import nn

hk = pytest.importorskip("haiku")
theirs = pytest.importorskip("haiku.experimental.jaxpr_info")
ours = nn.experimental.jaxpr_info
X = jnp.ones((2, 4))


def apply_of(lib, f, *args):
    function = f
    f = lib.transform_with_state(lambda *args: function(lib, *args))
    params, state = f.init(jax.random.key(0), *args)
    return f.apply, (params, state, jax.random.key(0), *args)


def tree(module):
    """Modules by name, with sizes and infos; operations of the two libraries differ."""
    inner = [tree(e.submodule) for e in module.expressions if e.primitive == "name_scope"]
    infos = (module.total_param_size, module.param_info, module.total_state_size, module.state_info)
    return module.name, *infos, inner


MODELS = {
    "mlp": (lambda lib, x: lib.nets.MLP([3, 2])(x), X),
    "batch norm": (lambda lib, x: lib.BatchNorm(True, True, 0.9)(lib.Conv2D(3, 2)(x), True), jnp.ones((1, 4, 4, 2))),
    "a module twice": (lambda lib, x: (lambda m: m(jnp.sin(m(x))))(lib.Linear(4)), X),
}


@pytest.mark.parametrize("name", MODELS)
def test_trees_of_modules_agree(name):
    trees = []
    for lib, info in ((hk, theirs), (nn, ours)):
        f, args = apply_of(lib, *MODELS[name])
        trees.append(tree(info.make_model_info(f, name="f")(*args)))
    assert trees[0] == trees[1]


PLAIN = {
    "operations": lambda x: jnp.sin(x) @ x.T,
    "jit": lambda x: jax.jit(lambda y: y + 1)(x) * 2,
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + y, c * y), x[0], x),
    "while": lambda x: jax.lax.while_loop(lambda y: y.sum() < 0, lambda y: y + 1, x),
    "checkpoint": jax.checkpoint(jnp.sin),
    "custom_jvp": jax.nn.relu,
}


@pytest.mark.parametrize("name", PLAIN)
def test_operations_agree(name):
    def facts(module):
        return module.name, [
            (e.primitive, e.invars, e.outvars, e.first_outvar, e.details, e.params, list(e.name_stack))
            + (e.submodule and facts(e.submodule),)
            for e in module.expressions
        ]

    a, b = (facts(info.make_model_info(PLAIN[name], name="f")(X)) for info in (theirs, ours))
    assert str(a).replace("int32", "s32") == str(b).replace("int32", "s32")


def test_names_given_by_others_agree():
    for info in (theirs, ours):
        assert info.make_model_info(jnp.sin)(X).name == "sin"
        assert info.make_model_info(jnp.sin, include_module_info=False)(X).expressions[0].primitive == "sin"
        module = info.make_model_info(jnp.sin, "f", compute_flops=lambda eqn, e: 12345)(X)
        assert (module.flops, module.expressions[0].flops) == (12345, 12345)
        text = info.format_module(module, depth=1)
        assert text == "  f 12.35 kflops\n    sin 12.35 kflops in f32[2,4], out f32[2,4]\n"
    assert theirs.Expression("p", "i", "o").__dict__ == ours.Expression("p", "i", "o").__dict__
    assert theirs.Module("m").__dict__ == ours.Module("m").__dict__


def flops(f, *args):
    return ours.make_model_info(f, compute_flops=ours.count_flops)(*args).flops


def test_flops_are_counted_by_hand():
    image, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 6))
    conv = lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert flops(jnp.matmul, jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4))) == 2 * 5 * 2 * 4 * 3
    assert flops(conv, image, kernel) == 2 * (8 * 8 * 6) * (3 * 3 * 4)
    assert flops(jnp.sin, X) == 8
    assert flops(lambda x: x.T.reshape(-1), X) == 0
    assert flops(lambda x: jax.lax.reduce_sum_p.bind(x, axes=(0,), out_sharding=None), X) == 8
    assert flops(lambda x: jax.lax.cond(True, jnp.sin, lambda y: jnp.cos(jnp.sin(y)), x), X) == 16
    assert flops(lambda x: jax.lax.scan(lambda c, y: (jnp.sin(c), y), x, None, length=5)[0], X) == 40


def test_a_scan_and_a_gradient_know_their_modules():
    f = nn.transform(lambda x: nn.nets.MLP([4])(x))
    params = f.init(jax.random.key(0), X)
    gradient = jax.grad(lambda p: f.apply(p, None, X).sum())
    found = []

    def visit(module):
        found.append((module.name, module.total_param_size))
        for e in module.expressions:
            if e.submodule is not None:
                visit(e.submodule)

    visit(ours.make_model_info(gradient)(params))
    assert ("jvp(mlp)", 20) in found
    found.clear()
    visit(ours.make_model_info(lambda p: jax.lax.scan(lambda c, _: (f.apply(p, None, c), 0), X, length=2))(params))
    assert ("linear_0", 20) in found


def test_pages_escape_all_text():
    evil = "<script>alert(1)</script>&\"'"
    inner = ours.Module(evil, param_info={evil: evil}, state_info={evil: evil}, total_param_size=1)
    leaf = ours.Expression(evil, evil, evil, 5000, evil, {evil: evil})
    module = ours.Module(evil, 5000, [leaf, ours.Expression(evil, evil, evil, submodule=inner)])

    class Reader(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.words = [], []

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.words.append(data)

    page = ours.as_html_page(module)
    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("script") == 1
    assert evil in reader.words
    assert page.count("<script>") == 1
    assert ours.css() in page
    assert ours.js() in page


def test_small_operations_are_left_out_of_pages():
    module = ours.make_model_info(jnp.sin, "f", compute_flops=ours.count_flops)(X)
    assert "sin" not in ours.as_html(module)
    assert "sin" in ours.as_html(module, min_flop=8)
    assert "a, b" in ours.as_html(module, outvars="a, b", last=True)
