"""Modules: objects whose methods find their parameters by the name of the object.

A module's name is fixed when it is made, from the names of the modules at work: `linear` in the
call of `mlp` is `mlp/linear`, made in its constructor it is `mlp/~/linear`, and in a method `encode`
it is `mlp/~encode/linear`. These names are the keys of the parameter tree.
"""

import abc
import contextlib
import functools
import inspect
import pprint
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

import jax

from renga._core.checks import check_callable
from renga.nn import _config, _hooks, _precision
from renga.nn._frame import Scope, current_frame, maybe_frame
from renga.nn._hooks import Hook, MethodContext

_F = TypeVar("_F", bound=Callable[..., Any])


def intercept_methods(interceptor: Hook) -> contextlib.AbstractContextManager[None]:
    """Has a function called in place of every module method.

    Args:
      interceptor: called as `interceptor(next_f, args, kwargs, context)` with a `MethodContext`;
        returns the result, mostly that of `next_f(*args, **kwargs)`. The outermost interceptor is
        called first.

    Example:
      >>> from renga import nn
      >>> def log(next_f, args, kwargs, context):
      ...     print(context.module.module_name, context.method_name)
      ...     return next_f(*args, **kwargs)
      >>> def f(x):
      ...     linear = nn.Linear(2)
      ...     with nn.intercept_methods(log):
      ...         return linear(x)
      >>> params = nn.transform(f).init(jax.random.key(0), jnp.ones(1))
      linear __call__
    """
    check_callable("intercept_methods", interceptor=interceptor)
    return _hooks.added(interceptors=(interceptor,))


def _intercepted(
    interceptors: tuple[Hook, ...], module: "Module", method_name: str, method: Callable[..., Any], owner: type
) -> Callable[..., Any]:
    """The method with the interceptors around it: they are given its arguments as a tuple and a dict."""
    bound = functools.partial(method, module)
    context = MethodContext(module, method_name, bound, owner)
    call: Callable[..., Any] = bound
    for interceptor in reversed(interceptors):
        call = _around(interceptor, call, context)
    return call


def _around(interceptor: Hook, following: Callable[..., Any], context: MethodContext) -> Callable[..., Any]:
    return lambda *args, **kwargs: interceptor(following, args, kwargs, context)


# --- methods -------------------------------------------------------------------------------------


def transparent(method: _F) -> _F:
    """Marks a method whose parameters and submodules are named as if made by its caller.

    Example:
      >>> from renga import nn
      >>> class Block(nn.Module):
      ...     @nn.transparent
      ...     def __call__(self, x):
      ...         return nn.Linear(2)(x)
      >>> f = nn.transform(lambda x: Block()(x))
      >>> list(f.init(jax.random.key(0), jnp.ones(3)))
      ['linear']
    """
    method._renga_transparent = True  # type: ignore[attr-defined]
    return method


def name_like(method_name: str) -> Callable[[_F], _F]:
    """Marks a method whose submodules are named as if made in another method.

    Args:
      method_name: the other method, often "__call__".

    Example:
      >>> from renga import nn
      >>> class Autoencoder(nn.Module):
      ...     @nn.name_like("__call__")
      ...     def encode(self, x):
      ...         return nn.Linear(2)(x)
      >>> f = nn.transform(lambda x: Autoencoder().encode(x))
      >>> list(f.init(jax.random.key(0), jnp.ones(3)))
      ['autoencoder/linear']
    """

    def mark(method: _F) -> _F:
        method._renga_name_like = method_name  # type: ignore[attr-defined]
        return method

    return mark


def _wrap_method(name: str, method: Callable[..., Any], owner: type) -> Callable[..., Any]:
    """A method that runs in a scope of its own."""
    if getattr(method, "_renga_transparent", False):
        return method
    scope_name = getattr(method, "_renga_name_like", name)
    is_call = name == "__call__"

    @functools.wraps(method)
    def wrapped(self: "Module", *args: Any, **kwargs: Any) -> Any:
        frame = maybe_frame()
        if frame is None:
            return method(self, *args, **kwargs)
        module_name = getattr(self, "module_name", None)
        if module_name is None:
            raise ValueError(_NO_SUPER.format(type(self).__name__))
        scopes = frame.scopes
        frame.note_call(scopes[-1].module, module_name)
        scopes.append(Scope(self, scope_name))
        try:
            label = self.name if is_call else f"{self.name}/~{name}"  # scope_label, at less cost
            with jax.named_scope(label):
                call: Callable[..., Any] = functools.partial(method, self)
                if interceptors := _hooks.in_force.get().interceptors:
                    call = _intercepted(interceptors, self, name, method, owner)
                policy = _precision.policy_for(self)
                if policy is not None:
                    return _precision.run(policy, call, args, kwargs)
                return call(*args, **kwargs)
        finally:
            scopes.pop()

    return wrapped


def scope_label(module: "Module", method_name: str) -> str:
    """The scope in which JAX files what a method computes."""
    return module.name if method_name == "__call__" else f"{module.name}/~{method_name}"


_NO_SUPER = (
    "{0}: super().__init__(name=name) must be called, as the first line of __init__, before the "
    "module makes parameters or submodules or its methods are used (in a dataclass: "
    "super().__post_init__(), as the first line of __post_init__)"
)


# --- the class -----------------------------------------------------------------------------------


# So that modules may also implement protocols, whose class is a subclass of ABCMeta without a public name.
_ProtocolMeta = abc.ABCMeta if TYPE_CHECKING else type(Protocol)


class ModuleMetaclass(_ProtocolMeta):
    """Wraps the methods of a class, and names its instances."""

    # A protocol's checks look at its members; a module's at its bases, as ever.
    __instancecheck__ = abc.ABCMeta.__instancecheck__
    __subclasscheck__ = abc.ABCMeta.__subclasscheck__

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any):
        """Makes the class, with every method wrapped that may use parameters."""
        cls = super().__new__(mcs, name, bases, namespace, **kwargs)
        for key, value in namespace.items():
            if isinstance(value, property):
                accessors = (f and _wrap_method(key, f, cls) for f in (value.fget, value.fset, value.fdel))
                # pyrefly: ignore[bad-argument-type]
                setattr(cls, key, property(*accessors, doc=value.__doc__))
            elif inspect.isfunction(value) and (key == "__call__" or not (key.startswith("__") and key.endswith("__"))):
                setattr(cls, key, _wrap_method(key, value, cls))
        return cls

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's parameters, for `inspect.signature` and editors."""
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes an instance inside of a scope of its own."""
        frame = maybe_frame()
        if frame is None:
            raise ValueError(
                f"{cls.__name__}: a module keeps its parameters in the function that nn.transform was given, and there "
                f"is none around it; make it in there: nn.transform(lambda x: nn.{cls.__name__}(...)(x))"
            )
        made = cast("type[Module]", cls)  # the checker takes __new__ for that of the metaclass
        module = made.__new__(made, *args, **kwargs)
        object.__setattr__(module, "_auto_repr", (args, kwargs))
        with frame.entered(Scope(module, "__init__")):
            init = cls.__init__
            owner = next(c for c in cls.__mro__ if "__init__" in c.__dict__)
            interceptors = _hooks.in_force.get().interceptors
            _intercepted(interceptors, module, "__init__", init, owner)(*args, **kwargs)
        if getattr(module, "module_name", None) is None:
            raise ValueError(_NO_SUPER.format(cls.__name__))
        return module


@runtime_checkable
class ModuleProtocol(Protocol):
    """What every module has: for annotations of classes that are modules and more."""

    name: str
    module_name: str

    def params_dict(self) -> dict[str, Any]:
        """Returns the module's parameters by their full names."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns the module's states by their full names."""
        ...


@runtime_checkable
class SupportsCall(ModuleProtocol, Protocol):
    """A module that can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        ...


class Module(metaclass=ModuleMetaclass):
    """The base class of all modules.

    A subclass calls `super().__init__(name=name)` first thing in its constructor, and may then use
    `nn.get_parameter`, `nn.get_state` and other modules in any method. A subclass that is a
    dataclass needs no constructor.

    Args:
      name: a Python identifier, or `nn.force_name(...)`; the class's name in snake_case if None.
        If it is taken, a number is added.

    Attributes:
      name: the last part of the module's name.
      module_name: the whole name, as in "mlp/~/linear_0".

    Raises:
      ValueError: outside of a transformed function; on a name that is no identifier, or ends in a
        number and is taken.

    Example:
      >>> from renga import nn
      >>> class Scale(nn.Module):
      ...     def __call__(self, x):
      ...         return x * nn.get_parameter("s", [], init=jnp.ones)
      >>> f = nn.transform(lambda x: Scale()(x))
      >>> f.init(None, 2.0)
      {'scale': {'s': Array(1., dtype=float32)}}
    """

    name: str
    module_name: str

    def __init__(self, name: str | None = None):
        frame = current_frame("Module")
        if frame.made is not None:
            frame.made.append(self)
        if name is None:
            name = getattr(self, "name", None)
        if name is None:
            name = snake_case(type(self).__name__)
        if isinstance(name, ForcedName):
            full_name = str(name)
            if not _PATH.match(full_name):
                raise ValueError(
                    f"force_name: {full_name!r} cannot name a module: every part between / must be an identifier, ~, "
                    "or an identifier behind ~"
                )
            frame.reserve_name(full_name, _outer_scope(frame, self))
        else:
            _check_name(name)
            full_name = frame.unique_name(name, _outer_scope(frame, self))
        # Not self.name = ...: a frozen dataclass is a module too.
        object.__setattr__(self, "module_name", full_name)
        object.__setattr__(self, "name", full_name.rpartition("/")[2])

    def __post_init__(self) -> None:
        """Names a module that is a dataclass."""
        Module.__init__(self, getattr(self, "name", None))

    def __repr__(self) -> str:
        return auto_repr(self)

    @transparent
    def params_dict(self) -> dict[str, Any]:
        """Returns the parameters of this module and of those that it made or called: "linear/w" → array."""
        return _below(self, current_frame("params_dict").params)

    @transparent
    def state_dict(self) -> dict[str, Any]:
        """Returns the states of this module and of those that it made or called: "counter/count" → array."""
        state = current_frame("state_dict").state
        return {name: pair.current for name, pair in _below(self, state).items()}


def _below(module: Module, tree: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The entries of a module, of the modules made in it, and of those that it called."""
    called = current_frame("params_dict").called
    found, new = set(), {module.module_name}
    while new:
        found |= new
        new = set().union(*(called.get(name, ()) for name in new)) - found
    return {
        f"{bundle}/{name}": value
        for bundle, values in tree.items()
        if any(bundle == own or bundle.startswith(f"{own}/") for own in found)
        for name, value in values.items()
    }


def _outer_scope(frame: Any, module: Module) -> Scope:
    """The scope in which a module is being made: the one outside of its own constructor."""
    scopes = frame.scopes
    for i in range(len(scopes) - 1, 0, -1):
        if scopes[i].module is module and scopes[i].method_name == "__init__":
            return scopes[i - 1]
    return scopes[-1]


# --- names ---------------------------------------------------------------------------------------


class ForcedName(str):
    """A name that is used as it stands."""

    __slots__ = ()


def force_name(name: str) -> str:
    """Marks a name to be used as it stands: no prefix, no number, shared if it is used twice.

    Modules made after it in the same method count it among the names that are taken.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     linear = nn.Linear(2)
      ...     again = nn.Linear(2, name=nn.force_name(linear.module_name))
      ...     return linear(x), again(x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(3)))
      ['linear']
    """
    return ForcedName(name)


def current_name() -> str:
    """Returns the name of the module or name scope at work, "~" outside of any.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     with nn.name_scope("encoder"):
      ...         return nn.current_name()
      >>> nn.transform(f).apply({}, None)
      'encoder'
    """
    return current_frame("current_name").scope.bundle


class _NamedScope(Module):
    """The module that stands for a name scope."""


def name_scope(name: str, *, method_name: str = "__call__") -> contextlib.AbstractContextManager[None]:
    """Names all that is made in a `with` block as if it were made in a method of a module.

    Args:
      name: of the module; if it is taken, a number is added. "a/b" is a scope in a scope.
      method_name: the method, of both.

    Raises:
      ValueError: outside of a transformed function, or if a part of the name is no identifier.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     with nn.name_scope("encoder"):
      ...         return nn.Linear(2)(x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(3)))
      ['encoder/linear']
    """
    current_frame("name_scope")
    if not isinstance(name, ForcedName) and not all(map(_IDENTIFIER.match, name.split("/"))):
        raise ValueError(
            f"name_scope: {name!r} cannot name a scope: every part between / must be an identifier, and no / may "
            "stand at the start or the end"
        )
    return _name_scope(name, method_name)


@contextlib.contextmanager
def _name_scope(name: str, method_name: str) -> Iterator[None]:
    frame = current_frame("name_scope")
    with contextlib.ExitStack() as stack:
        parts = [name] if isinstance(name, ForcedName) else name.split("/")
        for part in parts:
            scope = _NamedScope(name=part)
            stack.enter_context(jax.named_scope(scope.name))
            stack.enter_context(frame.entered(Scope(scope, method_name)))
        yield


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PATH = re.compile(r"(~|~?[A-Za-z_][A-Za-z0-9_]*)(/(~|~?[A-Za-z_][A-Za-z0-9_]*))*\Z")  # of a forced name


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise ValueError(
            f"{name!r} cannot name a module: a name must be an identifier of Python; nn.force_name(...) takes one as "
            "it stands"
        )


def snake_case(name: str) -> str:
    """The default name of a class: BatchNorm is batch_norm, Conv2D conv2_d."""
    # A capital starts a word after a small letter or digit, or before a small letter.
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


def auto_repr(module: Module) -> str:
    """The call that made the module, without arguments that have their default; in lines if it is long."""
    if not _config.get("module_auto_repr"):
        return object.__repr__(module)
    args, kwargs = getattr(module, "_auto_repr", ((), {}))
    cls = type(module)
    try:
        signature = inspect.signature(cls.__init__)
        bound = signature.bind(module, *args, **kwargs).arguments
    except (TypeError, ValueError):
        return f"{cls.__name__}(...)"
    shown = []
    for key, value in list(bound.items())[1:]:
        parameter = signature.parameters[key]
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown += [("", v) for v in value]
        elif parameter.kind is parameter.VAR_KEYWORD:
            shown += [(f"{k}=", v) for k, v in value.items()]
        elif not _same(value, parameter.default):
            shown.append((f"{key}=", value))
    line = f"{cls.__name__}({', '.join(label + repr(v) for label, v in shown)})"
    if len(line) <= 80:
        return line
    return "\n".join([f"{cls.__name__}(", *(_indented(f"    {label}", v) for label, v in shown), ")"])


def _indented(label: str, value: Any) -> str:
    text = pprint.pformat(value, width=max(80 - len(label), 1))
    return label + text.replace("\n", "\n" + " " * len(label)) + ","


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    try:
        return bool(a == b)
    except Exception:  # arrays and the like have no truth value
        return False
