"""Dataclasses: pytrees, mappings, static fields, inheritance, pickling."""

import collections.abc
import copy
import dataclasses
import pickle
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import pytest

from renga import testing

T = TypeVar("T")


@testing.dataclass
class Point:
    x: Any
    y: Any = 0.0

    def name(self):
        return super().__str__()


@testing.dataclass(frozen=True, kw_only=True, mappable_dataclass=False)
class Plain:
    x: Any = 1
    y: Any


@testing.dataclass
class Derived:
    x: Any
    n: dataclasses.InitVar[int] = 3
    twice: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self, n):
        self.twice = 2 * self.x
        self.x = self.x + n


def test_a_mapping_and_a_pytree():
    p = Point(x=1.0)
    assert isinstance(p, collections.abc.Mapping)
    assert (p["x"], dict(p), len(p), p.get("q", 7), "y" in p) == (1.0, {"x": 1.0, "y": 0.0}, 2, 7, True)
    assert p.name() == str(p)  # `super()` knows the class
    assert jax.jit(lambda p: p.replace(y=p.x + 1))(p)["y"] == 2.0
    with pytest.raises(KeyError):
        p["q"]
    with pytest.raises(ValueError, match="fields of a mapping are given by keywords, got 1 positional"):
        Point(1.0)
    with pytest.raises(ValueError, match=r"there are no fields \['q'\]; there are \['x', 'y'\]"):
        Point(x=1, q=2)
    with pytest.raises(ValueError, match="cannot have a field 'replace'"):
        testing.dataclass(type("P", (), {"__annotations__": {"replace": int}}))


def test_a_frozen_child_of_an_unfrozen_class_is_pythons_error():
    with pytest.raises(TypeError):
        testing.dataclass(frozen=True)(type("Child", (Point,), {"__annotations__": {"z": int}}))


@testing.dataclass
class Labelled(Generic[T]):
    w: T
    label: str = testing.static_field(default="a")


def test_static_fields_are_part_of_the_structure():
    traces = []

    @jax.jit
    def fn(layer):
        traces.append(layer.label)
        return layer.w * 2

    one, other = Labelled[Any](w=1.0), Labelled(w=2.0, label="b")
    assert jax.tree.leaves(one) == [1.0]
    fn(one), fn(one.replace(w=3.0)), fn(other)
    assert traces == ["a", "b"]
    assert jax.grad(lambda t: t.w**2)(other).label == "b"
    assert jax.vmap(lambda t: t.w)(Labelled(w=jnp.ones(2))).shape == (2,)
    assert one["label"] == "a"


def test_a_tree_is_rebuilt_without_init_and_derived_fields_come_again():
    d = Derived(x=1.0)
    same = jax.tree.map(lambda x: x, d)
    assert (d.x, same.x) == (4.0, 4.0)  # the leaves stay as they are
    assert same.twice == 8.0
    assert jax.tree.map(lambda _: object(), d) is not None


@pytest.mark.parametrize(
    "value", [Point(x=1.0), Plain(y=2), Labelled(w=1), Derived(x=1.0)], ids=lambda v: type(v).__name__
)
def test_values_survive_copies_and_pickles(value):
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert type(again) is type(value)


def test_tuples_and_the_order_of_fields():
    assert Plain.from_tuple((1, 2)) == Plain(x=1, y=2)
    assert Point.from_tuple((5.0,)).to_tuple() == (5.0, 0.0)
    with pytest.raises(ValueError, match="there are 2 fields, got 3 values"):
        Point.from_tuple((1, 2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Plain(y=1).x = 2


def test_registering_twice_is_no_error_and_no_dataclass_is():
    @dataclasses.dataclass
    class Pair:
        a: Any
        b: Any

    testing.register_dataclass_type_with_jax_tree_util(Pair)
    testing.register_dataclass_type_with_jax_tree_util(Pair)
    assert [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(Pair(1, 2))] == [".a", ".b"]
    with pytest.raises(TypeError, match="needs a dataclass"):
        testing.register_dataclass_type_with_jax_tree_util(int)
    mapping = testing.mappable_dataclass(Pair)
    assert dict(mapping(a=1, b=2)) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="cls must be a dataclass"):
        testing.mappable_dataclass(int)


def test_dimensions_and_warnings():
    dims = testing.Dimensions(B=3, T=5)
    dims["_N"] = (3, 7)
    assert dims["BN*(BT)2"] == (3, 7, None, 15, 2)
    del dims["N"]
    with pytest.raises(KeyError, match="'N' has no size; there are B, T"):
        dims["N"]
    with pytest.raises(ValueError, match="names 2 axes"):
        dims["XY"] = (1,)
    with pytest.warns(DeprecationWarning, match="lib.old is deprecated: use lib.new"):
        assert testing.create_deprecated_function_alias(abs, "lib.new", "lib.old")(-1) == 1
    with pytest.warns(DeprecationWarning, match="only the first 1 arguments can be positional"):
        testing.warn_only_n_pos_args_in_future(lambda a, b: a, 1)(1, 2)
    testing.warn_keyword_args_only_in_future(lambda a: a)(a=1)
    with pytest.warns(DeprecationWarning, match="abs is deprecated: use neu"):
        testing.warn_deprecated_function(abs, "neu")(-1)
