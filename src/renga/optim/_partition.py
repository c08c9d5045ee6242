"""Different transformations for different parameters, by label or by path."""
# ruff: noqa: N801

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from renga.optim._chain import show_members
from renga.optim._leaves import paths
from renga.optim._masking import ParamsMarker, made_tree, masked, tree_of_paths
from renga.optim._transformation import GradientTransformationExtraArgs, as_transformation, set_to_zero
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import show, static, value


class PartitionState(NamedTuple):
    """The state of `partition`."""

    inner_states: Mapping[Hashable, Any]


MultiTransformState = PartitionState


def _pattern(text: str) -> re.Pattern[str]:
    """`*` matches within one step of a path, `**` any number of steps."""
    regex = re.escape(text)
    regex = regex.replace(r"/\*\*", "(/.*)?").replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*")
    return re.compile(regex.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def _label_by_path(patterns: tuple[str, ...], params: PyTree) -> PyTree:
    """Each leaf's label is the first pattern that matches its path."""
    compiled = [(text, _pattern(text)) for text in patterns]
    first = lambda path: next((t for t, regex in compiled if regex.fullmatch(path)), None)
    names = paths(params)
    taken = {name: first(name) for name in names}
    uncovered = [name for name, label in taken.items() if label is None]
    if uncovered:
        raise ValueError(
            f"partition: no pattern matches the leaves {', '.join(uncovered[:8])}; "
            f'patterns are {", ".join(patterns)}. End with "**" to match all others'
        )
    idle = [text for text in patterns if text not in taken.values()]
    if idle:
        raise ValueError(
            f"partition: the patterns {', '.join(idle)} match no leaf that an earlier pattern has not "
            f"taken; the leaves are {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
        )
    return jax.tree.map(first, tree_of_paths(params))


@value
class partition(GradientTransformationExtraArgs):
    """Gives different parameters to different transformations.

    Without labels, the keys of `transforms` are patterns of paths such as `encoder/linear/w`:
    `*` matches within one step of the path, `**` any number of steps, and the first pattern
    that matches a leaf takes it. `encoder/**` takes everything below `encoder`.

    Args:
      transforms: label ↦ transformation.
      param_labels: a tree of labels like the parameters (or a prefix of one), or a function from
        parameters to it; None takes the labels for patterns.
      mask_compatible_extra_args: whether extra arguments that have the structure of the
        parameters are masked too.

    Raises:
      ValueError: if a leaf has no transformation, or a pattern no leaf, listing the paths.

    Example:
      >>> from renga.optim import freeze, sgd
      >>> tx = partition({"encoder/**": freeze(), "**": sgd(0.1)})
      >>> params = {"encoder": {"w": jax.numpy.ones(1)}, "head": jax.numpy.ones(1)}
      >>> tx.update(params, tx.init(params))[0]
      {'encoder': {'w': Array([0.], dtype=float32)}, 'head': Array([-0.1], dtype=float32)}
    """

    labels: tuple[Hashable, ...] = static()
    transforms: tuple[Any, ...]
    param_labels: Any = static()
    mask_compatible_extra_args: bool = static()

    def __init__(
        self,
        transforms: Mapping[Any, Any],
        param_labels: Any = None,
        *,
        mask_compatible_extra_args: bool = False,
    ):
        if param_labels is None and not all(isinstance(key, str) for key in transforms):
            raise TypeError(
                f"partition: without param_labels the keys must be patterns, got {', '.join(map(repr, transforms))}"
            )
        object.__setattr__(self, "labels", tuple(transforms))
        adapted = (as_transformation("partition", f"transforms[{key!r}]", tx) for key, tx in transforms.items())
        object.__setattr__(self, "transforms", tuple(adapted))
        object.__setattr__(self, "param_labels", param_labels)
        object.__setattr__(self, "mask_compatible_extra_args", mask_compatible_extra_args)

    def _label_tree(self, params: PyTree) -> PyTree:
        if isinstance(params, ParamsMarker):
            return params
        if self.param_labels is None:
            # pyrefly: ignore[bad-argument-type]
            return _label_by_path(self.labels, params)
        labels = made_tree(self.param_labels, params)
        unknown = {label: None for label in jax.tree.leaves(labels) if label not in self.labels}
        if unknown:
            where = [
                jax.tree_util.keystr(path, simple=True, separator="/")
                for path, label in jax.tree_util.tree_leaves_with_path(labels)
                if label in unknown
            ]
            raise ValueError(
                f"partition: no transformation for the labels {', '.join(map(repr, unknown))} "
                f"(of {', '.join(where[:8])}); transforms has {', '.join(map(repr, self.labels))}"
            )
        return labels

    def _members(self, tree: PyTree) -> dict[Hashable, masked]:
        labels = self._label_tree(tree)
        extra = self.mask_compatible_extra_args
        return {
            name: masked(tx, _equals(labels, name), mask_compatible_extra_args=extra)
            for name, tx in zip(self.labels, self.transforms, strict=True)
        }

    def init(self, params: Params) -> OptState:
        """One state a label."""
        return PartitionState({k: tx.init(params) for k, tx in self._members(params).items()})

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Each transformation sees its own leaves."""
        after = {}
        members = self._members(updates if params is None else params)
        for name, tx in members.items():
            inner = state.inner_states[name]
            updates, after[name] = tx.update(updates, inner, params, **extra_args)
        return updates, PartitionState(after)

    def __repr__(self) -> str:
        pairs = zip(self.labels, self.transforms, strict=True)
        inner = show_members("", [f"{name!r}: {tx!r}" for name, tx in pairs])
        labels = "" if self.param_labels is None else f", param_labels={show(self.param_labels)}"
        return f"partition({{{inner[1:-1]}}}{labels})"


def _equals(labels: PyTree, name: Hashable) -> Any:
    if isinstance(labels, ParamsMarker):
        return labels
    return jax.tree.map(lambda label: label == name, labels)


def multi_transform(
    transforms: Mapping[Any, Any], param_labels: Any, *, mask_compatible_extra_args: bool = False
) -> partition:
    """The old name of `partition`.

    Args:
      transforms: label ↦ transformation.
      param_labels: a tree of labels like the parameters, or a function from parameters to it.
      mask_compatible_extra_args: whether extra arguments that have the structure of the
        parameters are masked too.

    Returns:
      The transformation.

    Example:
      >>> from renga.optim import sgd
      >>> tx = multi_transform({"a": sgd(0.1), "b": set_to_zero()}, {"w": "a", "v": "b"})
      >>> tx.update({"w": 1.0, "v": 1.0}, tx.init({"w": 0.0, "v": 0.0}))[0]["v"].item()
      0.0
    """
    return partition(transforms, param_labels, mask_compatible_extra_args=mask_compatible_extra_args)


def selective_transform(
    optimizer: Any, *, freeze_mask: PyTree | Callable[[PyTree], PyTree]
) -> GradientTransformationExtraArgs:
    """Runs an optimiser on some parameters and freezes the others.

    Args:
      optimizer: the optimiser.
      freeze_mask: a tree of bools like the parameters, True where frozen; or a function from
        parameters to it.

    Returns:
      The transformation; it keeps no optimiser state for frozen parameters.

    Example:
      >>> from renga.optim import sgd
      >>> tx = selective_transform(sgd(1.0), freeze_mask={"w": True, "b": False})
      >>> g = {"w": 1.0, "b": 1.0}
      >>> {k: float(u) for k, u in tx.update(g, tx.init(g))[0].items()}
      {'b': -1.0, 'w': 0.0}
    """
    name = lambda frozen: "freeze" if frozen else "train"

    def labels(params):
        return jax.tree.map(name, made_tree(freeze_mask, params))

    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)
