"""A model's computation as a graph in the DOT language."""

import html
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from renga.nn._summarise import ArraySpec


def to_dot(fun: Callable[..., Any]) -> Callable[..., str]:
    """Returns a function that draws the operations of `fun`, grouped by module, in DOT.

    Args:
      fun: a function of arrays, such as `f.apply`.

    Returns:
      A function of the same arguments that returns text for Graphviz.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Linear(2)(x))
      >>> params = f.init(jax.random.key(0), jax.numpy.ones(3))
      >>> dot = nn.to_dot(f.apply)(params, None, jax.numpy.ones(3))
      >>> dot.startswith("digraph") and "linear" in dot and "dot_general" in dot
      True
    """

    def draw(*args: Any, **kwargs: Any) -> str:
        program = jax.make_jaxpr(lambda *a: fun(*a, **kwargs))(*args)
        return _Drawing(program.jaxpr).text()

    return draw


def abstract_to_dot(fun: Callable[..., Any]) -> Callable[..., str]:
    """Like `to_dot`; the arguments may also be `jax.ShapeDtypeStruct`.

    Example:
      >>> text = abstract_to_dot(jax.numpy.sin)(jax.ShapeDtypeStruct([3], jax.numpy.float32))
      >>> "sin" in text
      True
    """
    return to_dot(fun)


class _Drawing:
    """Nodes by scope, and edges."""

    def __init__(self, jaxpr: Any):
        self.nodes: dict[tuple[str, ...], list[str]] = {}
        self.edges: list[str] = []
        self.ids: dict[Any, str] = {}
        for i, variable in enumerate((*jaxpr.invars, *jaxpr.constvars)):
            self._node((), variable, f"input {i}", "#e8e8e8")
        self._equations(jaxpr)
        for i, variable in enumerate(jaxpr.outvars):
            if not isinstance(variable, Literal):
                name = f"out{i}"
                self.nodes.setdefault((), []).append(f'{name} [label="output {i}"]')
                self.edges.append(f"{self.ids[variable]} -> {name}")

    def _node(self, scope: tuple[str, ...], variable: Any, label: str, color: str) -> None:
        name = self.ids[variable] = f"n{len(self.ids)}"
        aval = variable.aval
        spec = ArraySpec(aval.shape, aval.dtype) if hasattr(aval, "shape") else aval
        try:
            text = f"{label}\\n{spec!r}"
        except TypeError:  # keys have no NumPy dtype
            text = f"{label}\\n{aval.str_short()}"
        text = html.escape(text).replace('"', "'")
        line = f'{name} [label="{text}", fillcolor="{color}"]'
        self.nodes.setdefault(scope, []).append(line)

    def _equations(self, jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            inner = equation.params.get("jaxpr")
            inner = getattr(inner, "jaxpr", inner)
            if equation.primitive.name in ("pjit", "jit") and hasattr(inner, "eqns"):
                for outside, inside in zip(equation.invars, inner.invars, strict=True):
                    if not isinstance(outside, Literal):
                        self.ids[inside] = self.ids[outside]
                self._equations(inner)
                for outside, inside in zip(equation.outvars, inner.outvars, strict=True):
                    if not isinstance(inside, Literal):
                        self.ids[outside] = self.ids[inside]
                continue
            names = str(equation.source_info.name_stack)
            scope = tuple(part for part in names.split("/") if part and part != "~")
            for out in equation.outvars:
                self._node(scope, out, equation.primitive.name, "#fff4c2")
                for variable in equation.invars:
                    if not isinstance(variable, Literal) and variable in self.ids:
                        self.edges.append(f"{self.ids[variable]} -> {self.ids[out]}")

    def text(self) -> str:
        """The whole graph."""
        lines = ["digraph G {", 'rankdir="TB"', 'node [shape=box, style="filled,rounded"]']
        tree: dict[str, Any] = {}
        for scope, nodes in self.nodes.items():
            level = tree
            for part in scope:
                level = level.setdefault(part, {})
            level.setdefault("", []).extend(nodes)
        self._cluster(tree, lines, "cluster")
        return "\n".join([*lines, *self.edges, "}"]) + "\n"

    def _cluster(self, level: dict[str, Any], lines: list[str], name: str) -> None:
        for part, inside in level.items():
            if part == "":
                lines.extend(inside)
                continue
            label = f"{name}_{len(lines)}"
            lines.append(f'subgraph {label} {{ label="{html.escape(part)}"; style="rounded"')
            self._cluster(inside, lines, label)
            lines.append("}")
