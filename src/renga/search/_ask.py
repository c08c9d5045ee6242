"""Rules: values that say at a node what to do. And which rule a function applies: the function is asked."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, dataclass_transform

from jaxtyping import Array, ArrayLike, Int

from renga._core.values import static, value


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
class Rule:
    """Base of selections and Q-transforms: a frozen dataclass, and a pytree whose leaves are its fields."""

    # Whether it is written for many nodes side by side, the last axis of every array, as well as for one node.
    side_by_side: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        value(cls)


class Question:
    """Stands for each argument of a selection or a Q-transform, to ask which rule the function applies.

    A rule answers with itself. So does a function that only hands its arguments on to one: the library's functions,
    `functools.partial` of them, a lambda around them. Any other finds nothing here to compute with.
    """

    def __getattr__(self, name: str) -> Any:
        raise TypeError(f"a question has no {name!r}: it asks which rule a function applies")

    def __bool__(self) -> bool:
        raise TypeError("a question is neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise TypeError("a question is equal to nothing")

    __hash__ = object.__hash__


# What a rule may be called with.
Index = Int[ArrayLike, ""] | Question
KeyOrQuestion = Array | ArrayLike | Question


class Answer(NamedTuple):
    """A rule, and the depth that the function takes itself to be at."""

    rule: Any
    depth: Index


def ask(fn: Callable[..., Any], num_arguments: int) -> Answer | None:
    """Asks a function which rule it applies; None for a function of the user's.

    Example:
      >>> import functools
      >>> from renga.search import qtransform_by_min_max
      >>> ask(functools.partial(qtransform_by_min_max, min_value=0.0, max_value=1.0), 2).rule
      MinMax(min_value=0.0, max_value=1.0)
      >>> ask(lambda tree, node_index: tree.qvalues(node_index), 2) is None
      True
    """
    try:
        answer = fn(*[Question()] * num_arguments)
    except Exception:  # whatever a function does that wants a tree
        return None
    return answer if isinstance(answer, Answer) else None
