"""Every optimiser, with what its constructor and its update need: for tests that look at all of them."""

import jax
import jax.numpy as jnp

from renga import optim

LOSS = lambda p: sum(jnp.sum(jnp.abs(x) ** 2) for x in jax.tree.leaves(p))

# name -> a function of the library (ours or Optax) and of a learning rate
OPTIMISERS = {
    **{
        name: lambda o, rate, name=name: getattr(o, name)(rate)
        for name in (
            "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad",
            "fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd", "optimistic_adam_v2",
            "optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop", "sgd", "sign_sgd", "signum",
            "sm3", "yogi",
        )
    },
    **{
        f"contrib.{name}": lambda o, rate, name=name: getattr(o.contrib, name)(rate)
        for name in (
            "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw", "dog", "dowg", "galore", "momo", "momo_adam",
            "muon", "prodigy", "schedule_free_adamw", "schedule_free_sgd", "simplified_ademamix", "sophia", "madgrad",
        )
    },
    "sgd with momentum": lambda o, rate: o.sgd(rate, momentum=0.9),
    "adafactor with momentum": lambda o, rate: o.adafactor(rate, momentum=0.9, min_dim_size_to_factor=2),
    "centred rmsprop": lambda o, rate: o.rmsprop(rate, centered=True, momentum=0.9, bias_correction=True),
    "noisy_sgd": lambda o, rate: o.noisy_sgd(rate, seed=0),
}  # fmt: skip
WRAPPERS = {
    "MultiSteps": lambda o, rate: o.MultiSteps(o.adam(rate), 2).gradient_transformation(),
    "apply_if_finite": lambda o, rate: o.apply_if_finite(o.adam(rate), 2),
    "conditionally_mask": lambda o, rate: o.conditionally_mask(o.adam(rate), lambda step: step > 1),
    "flatten": lambda o, rate: o.flatten(o.adam(rate)),
    "inject_hyperparams": lambda o, rate: o.inject_hyperparams(o.adamw)(rate),
    "masked": lambda o, rate: o.masked(o.adam(rate), {"w": True, "b": False}),
    "mechanize": lambda o, rate: o.contrib.mechanize(o.adam(rate)),
    "partition": lambda o, rate: o.partition({1: o.adam(rate), 2: o.sgd(rate, 0.9)}, {"w": 1, "b": 2}),
    "reduce_on_plateau": lambda o, rate: o.chain(o.sgd(rate), o.contrib.reduce_on_plateau()),
    "sam": lambda o, rate: o.contrib.sam(o.adam(rate), o.sgd(rate)),
    "schedule_free": lambda o, rate: o.contrib.schedule_free(o.adam(rate), rate),
    "split_real_and_imaginary": lambda o, rate: o.contrib.split_real_and_imaginary(o.adam(rate)),
    "lbfgs": lambda o, rate: o.lbfgs(rate, memory_size=2),
}
ALL = OPTIMISERS | WRAPPERS


def step(tx, grads, state, params, library=optim):
    """One update, with every extra argument that some optimiser needs."""
    extra = {"value": jnp.float32(1.0), "grad": grads, "value_fn": LOSS, "obj_fn": LOSS}
    if library is not optim:
        tx = library.with_extra_args_support(tx)
    return tx.update(grads, state, params, **extra)
