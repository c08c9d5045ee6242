"""A learned rule in a file, to be used in anybody's program."""

import dataclasses
import os
from pathlib import Path

import jax
from jaxtyping import PyTree

from renga.loop import RunError
from renga.systems._files import check_shapes, contents, said_in, unpacked, write_tree
from renga.systems.lpg._config import Config, rule_of
from renga.systems.lpg._rules import LPG


def save_rule(path: str | os.PathLike[str], rule: LPG, eta: PyTree) -> None:
    """Writes a rule and its meta-parameters, without a config, to a safetensors file.

    Raises:
      RunError: if it cannot be written.

    Example:
      >>> import jax, tempfile
      >>> rule = LPG(units=8, prediction_size=3)
      >>> path = tempfile.mkdtemp() + "/rule.safetensors"
      >>> save_rule(path, rule, jax.jit(rule.init)(jax.random.key(0)))
      >>> load_rule(path)[0] == rule
      True
    """
    write_tree(path, dataclasses.asdict(rule), "rule", {"eta": eta})


def load_rule(path: str | os.PathLike[str]) -> tuple[LPG, PyTree]:
    """Reads a rule from a file that `renga export`, `LearnedRule.save` or `save_rule` has written.

    Args:
      path: of the file.

    Returns:
      The rule, a function `rule(eta, inputs) -> targets`, and its meta-parameters η.

    Raises:
      RunError: if the file is damaged or holds something else.

    Example: see `save_rule`.
    """
    return rule_in(Path(path), "load_rule")[1:]


def rule_in(path: Path, function: str) -> tuple[Config | None, LPG, PyTree]:
    """The config in a file, if there is one, its rule and η.

    Raises:
      RunError: if the file is damaged or holds something else; it names the function.
    """
    found = contents(path, function)
    if set(found) != {"rule", "eta"}:
        config, eta = unpacked(path, "renga.systems.lpg", found, lambda config: _shapes(rule_of(config)), function)
        return config, rule_of(config), eta
    try:
        rule = LPG(**said_in(path, found["rule"], function))
        shapes = _shapes(rule)
    except (TypeError, ValueError, LookupError) as error:
        raise RunError(f"{function}: the rule in {path} cannot be: {error}") from error
    check_shapes(path, shapes, found["eta"], function)
    return None, rule, found["eta"]


def _shapes(rule: LPG) -> PyTree:
    return jax.eval_shape(rule.init, jax.random.key(0))
