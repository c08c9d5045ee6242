"""What one call of `init` or `apply` knows while the transformed function runs.

A `Frame` holds the parameters, the state, the keys and the stack of module methods that are being
executed. The frame in force is a context variable, so that threads and async tasks do not mix, and
everything in `renga.nn` that seems to have a side effect (`get_parameter`, `set_state`,
`next_rng_key`, the naming of modules) is a change of this one object. `_transform.py` makes a frame,
runs the function and takes the result out; nothing else survives the call.
"""

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax

from renga.nn import _usage
from renga.nn._errors import JaxUsageError, MissingRNGError
from renga.nn._fresh import KEY, Reads
from renga.nn._rng import PRNGSequence
from renga.nn._traces import belongs_inside, computing_in, current_trace, in_a_loop, in_a_program

# Parameters: module name -> parameter name -> array.
Params = dict[str, dict[str, Any]]
ROOT = "~"  # the bundle of parameters that belong to no module


class StatePair(NamedTuple):
    """A state as `init` returns it, and as it is now."""

    initial: Any
    current: Any


class Internal(NamedTuple):
    """The mutable part of a frame as a pytree, to pass through a JAX transformation."""

    params: Params
    state: dict[str, dict[str, StatePair]]
    rng: Any


class Scope:
    """One module method that is being executed, and the names given out in it."""

    __slots__ = ("counters", "method_name", "module", "used")

    def __init__(self, module: Any, method_name: str):
        self.module = module
        self.method_name = method_name
        # Every call counts anew: a module called twice finds the same parameters twice.
        self.counters: dict[str, int] = {}
        self.used: set[str] = set()

    @property
    def bundle(self) -> str:
        """The key of this scope's parameters in the tree."""
        return ROOT if self.module is None else self.module.module_name

    def prefix(self) -> str:
        """What stands before the name of a module made here."""
        if self.module is None:
            return ""
        name = getattr(self.module, "module_name", None)
        if name is None:
            raise ValueError(
                f"{type(self.module).__name__}: super().__init__(name=name) must be called before "
                "parameters or submodules are made; make it the first line of __init__ "
                "(in a dataclass, super().__post_init__() the first line of __post_init__)"
            )
        if self.method_name == "__call__":
            return f"{name}/"
        method = "" if self.method_name == "__init__" else self.method_name
        return f"{name}/~{method}/"


class Frame:
    """The one context object of a transformed function's call.

    Attributes:
      params: bundle name → parameter name → value.
      state: bundle name → state name → (initial, current).
      rng: the sequence of keys, or None if the caller gave none.
      creating: whether this is `init`, which makes the parameters that are asked for.
      lazy: the collector of initial values, if `init` runs abstractly.
      settled: whether all that is asked for here was made already: in `apply`, and in `init` when
        a function is run a second time, inside a JAX transformation.
      split: whether each element of an `nn.vmap` has its own keys, so that no parameter can be made.
      scopes: the module methods being executed, the innermost last.
      called: module name → names of the modules whose methods it called.
      lifting: the prefix of the lifted function whose `init` is being run, if any.
      lifts_openly: whether that function's names go without a prefix.
      made: the modules made in this call, where only those may be used: under `transparent_lift`.
      updaters: of lifted functions with state, to check that they were used.
      trace: the JAX trace of this call: what is stored must not belong to an inner one.
      keys_trace: the JAX trace that `rng` belongs to.
      lifted_prefix: the name under which a lifted function's parameters will be filed.
      read_inside: how often each parameter or state was read where JAX records a program.
    """

    def __init__(
        self,
        params: Params,
        state: dict[str, dict[str, StatePair]],
        rng: PRNGSequence | None,
        *,
        creating: bool,
        lazy: Any = None,
        lifted_prefix: str | None = None,
    ):
        self.params = params
        self.state = state
        self.rng = rng
        self.creating = creating
        self.lazy = lazy
        self.lifted_prefix = lifted_prefix
        self.lifting: str | None = None
        self.lifts_openly = False
        self.made: list[Any] | None = None
        self.updaters: list[Any] = []
        self.settled = not creating
        self.split = False
        self.scopes: list[Scope] = [Scope(None, "")]
        self.called: dict[str, set[str]] = {}
        self.trace = self.keys_trace = current_trace()
        self.read_inside: Reads = Reads()

    @property
    def scope(self) -> Scope:
        """The module method being executed, or the root."""
        return self.scopes[-1]

    @property
    def module(self) -> Any:
        """The module whose method is being executed, or None."""
        return self.scopes[-1].module

    @contextlib.contextmanager
    def activated(self) -> Iterator["Frame"]:
        """Puts the frame in force."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @contextlib.contextmanager
    def entered(self, scope: Scope) -> Iterator[None]:
        """Executes a module method."""
        self.scopes.append(scope)
        try:
            yield
        finally:
            self.scopes.pop()

    @contextlib.contextmanager
    def returned_to(self, place: Scope) -> Iterator[None]:
        """Makes modules as if in another place; their numbers are still those of this one, as in Haiku."""
        scope = Scope(place.module, place.method_name)
        scope.counters, scope.used = self.scope.counters, self.scope.used
        with self.entered(scope):
            yield

    def note_call(self, caller: Any, name: str) -> None:
        """Remembers that a method of `caller` called one of the module of this name."""
        caller_name = getattr(caller, "module_name", name)
        if caller_name != name:
            self.called.setdefault(caller_name, set()).add(name)

    # --- names -------------------------------------------------------------------------------

    def check_made_here(self, module: Any) -> None:
        """Refuses a module of an outer function where its parameters would be filed in the wrong place."""
        if self.made is not None and module is not None and not any(module is own for own in self.made):
            name = getattr(module, "module_name", module)
            raise ValueError(
                f"transparent_lift: the function that is lifted uses the module {name!r}, which was made outside "
                "of it: the parameters of both would have the same names. Make the module inside, or use nn.lift"
            )

    def unique_name(self, name: str, scope: Scope) -> str:
        """Turns the name asked for into the full name of a new module.

        A name that is taken gets the next free number: `linear`, `linear_1`, `linear_2`.

        Raises:
          ValueError: if a name that ends in a number is taken already.
        """
        if self.made is not None:
            self.check_made_here(scope.module)
        full = scope.prefix() + name
        base, number = _split_number(full)
        counters = scope.counters
        if number is None:
            count = counters.get(full, 0)
            counters[full] = count + 1
            unique = f"{full}_{count}" if count else full
        else:
            counters[base] = max(counters.get(base, 0), number + 1)
            unique = full
        if unique in scope.used:
            raise ValueError(
                f"Module name {unique!r} is not unique: another module has it already. Leave out "
                f"the number (name={name.rsplit('_', 1)[0]!r}) to have a free one chosen, or "
                "choose another name"
            )
        scope.used.add(unique)
        return unique

    def reserve_name(self, full: str, scope: Scope) -> None:
        """Takes a name that was chosen outright, for others not to get it."""
        base, number = _split_number(full)
        taken = 1 if number is None else number + 1
        scope.counters[base] = max(scope.counters.get(base, 0), taken)
        scope.used.add(full)

    # --- the boundary of JAX transformations -----------------------------------------------------

    def check_value(self, action: str, value: Any) -> None:
        """Refuses to store a value that belongs to a JAX transformation entered since, and would leak."""
        if current_trace() is not self.trace and belongs_inside(value, self.trace):
            raise JaxUsageError(_usage.message(action))

    def note_read(self, *name: str) -> None:
        """Counts what is read where JAX records a program, which may outlive this call."""
        if current_trace() is not self.trace and in_a_program(self.trace):
            self.read_inside[name] += 1

    @contextlib.contextmanager
    def in_current_trace(self) -> Iterator[None]:
        """Allows side effects in the trace in force: its values are handed out by the caller."""
        before = self.trace, self.keys_trace
        self.trace = self.keys_trace = current_trace()
        try:
            yield
        finally:
            self.trace, self.keys_trace = before

    @contextlib.contextmanager
    def eager(self) -> Iterator[None]:
        """Computes concrete values although a trace is in force, if `init` runs abstractly."""
        if self.lazy is None:
            yield
            return
        with jax.ensure_compile_time_eval(), self.in_current_trace():
            yield

    def internal(self) -> Internal:
        """A copy of the mutable part."""
        rng = None if self.rng is None else self.rng.internal_state
        return Internal(copy_tree(self.params), copy_tree(self.state), rng)

    def replace_internal(self, internal: Internal) -> None:
        """Goes on with other parameters, states and keys."""
        self.params = copy_tree(internal.params)
        self.state = {
            bundle: {name: StatePair(*pair) for name, pair in states.items()}
            for bundle, states in internal.state.items()
        }
        if self.rng is not None and internal.rng is not None:
            self.rng.replace_internal_state(internal.rng)

    @contextlib.contextmanager
    def borrowed(self, internal: Internal, names: "Names", settled: bool) -> Iterator[None]:
        """Runs on other values for a while, inside a JAX transformation.

        However often JAX runs a function, it gives out the same names.
        """
        before, was_settled = self.internal(), self.settled
        for scope, counters, used in names:
            scope.counters, scope.used = dict(counters), set(used)
        try:
            with self.in_current_trace():
                self.replace_internal(internal)
                self.settled = settled
                yield
        finally:
            self.settled = was_settled
            self.replace_internal(before)

    def names(self) -> "Names":
        """The names given out so far, to give out the same again."""
        return [(scope, dict(scope.counters), set(scope.used)) for scope in self.scopes]

    # --- random keys -------------------------------------------------------------------------

    @contextlib.contextmanager
    def drawing(self) -> Iterator[PRNGSequence]:
        """The sequence of keys, to be split where it belongs: also inside a JAX transformation."""
        keys = self.keys()
        if in_a_loop(self.keys_trace):
            raise JaxUsageError(_usage.message("A random key was drawn", "every step would get the same"))
        self.note_read(*KEY)
        with self.eager() if self.lazy is not None else computing_in(self.keys_trace):
            yield keys

    def keys(self) -> PRNGSequence:
        """The sequence of keys.

        Raises:
          MissingRNGError: if the caller gave no key.
        """
        if self.rng is None:
            raise MissingRNGError(
                "A random key is needed, but rng is None: pass a key to init(rng, ...) or "
                "apply(params, rng, ...). If only initialisation needs it, this call created a "
                "parameter"
            )
        return self.rng


Names = list[tuple[Scope, dict[str, int], set[str]]]

_current: ContextVar[Frame | None] = ContextVar("renga.nn frame", default=None)


def maybe_frame() -> Frame | None:
    """The frame in force, if any."""
    return _current.get()


def current_frame(who: str, twin: str | None = None) -> Frame:
    """The frame in force.

    Args:
      who: the function that needs it.
      twin: what to use instead outside of a transformed function, if there is such.

    Raises:
      ValueError: outside of a transformed function, naming the function that needs one.
    """
    frame = _current.get()
    if frame is None:
        raise ValueError(
            f"`nn.{who}` must be used inside of a transformed function: f = nn.transform(fn), "
            "then f.init(key, ...) and f.apply(params, key, ...)" + (f". Outside, use {twin}" if twin else "")
        )
    return frame


def copy_tree(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Copies the two levels of mappings, not the arrays."""
    return {bundle: dict(values) for bundle, values in tree.items()}


_NUMBERED = re.compile(r"(.*)_(0|[1-9]\d*)\Z", re.DOTALL)  # 007 is no number but a name


def _split_number(name: str) -> tuple[str, int | None]:
    match = _NUMBERED.match(name)
    return (match[1], int(match[2])) if match else (name, None)
