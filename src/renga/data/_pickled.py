"""Reads CIFAR-10's python batches: dictionaries, lists, text, numbers and NumPy arrays in a pickle.

A pickle is a program for a small machine, whose calls can do anything. This reader has no calls: it takes the program
apart with `pickletools`, keeps what a call would be made of as a value, and knows the few forms in which NumPy writes
arrays. Everything else is refused.

References:
  https://www.cs.toronto.edu/~kriz/cifar.html; the comments in Python's `pickletools`.
"""

import pickletools
import re
from typing import Any

import numpy as np

_MARK = object()
_PLAIN = {  # operations that put down what stands in them
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_OLD_TEXT = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # in which Python 2 wrote bytes
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[48])")
_KNOWN = {
    *("numpy.dtype", "numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"),
    *("_codecs.encode", "__builtin__.bytes", "builtins.bytes"),
}
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


class PickleError(ValueError):
    """A pickle holds something else than plain data and arrays."""


class _Name:
    """What a pickle asks for by name."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Call:
    """What a pickle would call, with what, and what it would then give to the result."""

    def __init__(self, function: Any, args: Any) -> None:
        self.function, self.args, self.state = function, args, None


def read_pickle(data: bytes) -> Any:
    """Returns what a pickle of plain data and arrays holds.

    Raises:
      PickleError: if it is damaged or holds anything else.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return _value(stack.pop())
            _execute(opcode.name, argument, stack, memo)
    except PickleError:
        raise
    except Exception as error:  # a damaged file can fail anywhere
        raise PickleError(f"{type(error).__name__}: {error}") from error
    raise PickleError("it has no end")


def _execute(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _PLAIN:
        stack.append(argument)
    elif name in _OLD_TEXT:
        stack.append(argument.encode("latin-1"))
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("PROTO", "FRAME"):
        pass
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "POP":
        stack.pop()
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "GLOBAL":
        stack.append(_Name(argument.replace(" ", ".")))
    elif name == "STACK_GLOBAL":
        module, attribute = _take(stack, 2)
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise PickleError("it asks for a name that is no text")
        stack.append(_Name(f"{module}.{attribute}"))
    elif name in ("EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT"):
        stack.append({"EMPTY_LIST": [], "EMPTY_TUPLE": (), "EMPTY_DICT": {}}[name])
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(tuple(_take(stack, int(name[-1]))))
    elif name in ("TUPLE", "LIST"):
        stack.append((tuple if name == "TUPLE" else list)(_to_mark(stack)))
    elif name == "DICT":
        stack.append(_pairs(_to_mark(stack)))
    elif name in ("APPEND", "APPENDS"):
        items = _take(stack, 1) if name == "APPEND" else _to_mark(stack)
        _top(stack, list).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = _take(stack, 2) if name == "SETITEM" else _to_mark(stack)
        _top(stack, dict).update(_pairs(items))
    elif name == "REDUCE":
        function, args = _take(stack, 2)
        if isinstance(function, _Name) and not _is_known(function.text):
            raise PickleError(f"a batch holds arrays only, but this file asks for {function.text}")
        stack.append(_call(function, args))
    elif name == "BUILD":
        (state,) = _take(stack, 1)
        _top(stack, _Call).state = state
    else:
        raise PickleError(f"a batch holds arrays only, but this file has the operation {name}")


def _call(function: Any, args: Any) -> Any:
    """Keeps a call as a value; bytes, which protocol 2 writes as text and the wish to encode it, become bytes."""
    name = function.text if isinstance(function, _Name) else ""
    if name in ("__builtin__.bytes", "builtins.bytes") and args == ():
        return b""
    if name == "_codecs.encode":
        text, codec = args
        if not isinstance(text, str) or codec not in ("latin1", "latin-1", b"latin1"):
            raise PickleError("text may be encoded as latin1 only")
        return text.encode("latin-1")
    return _Call(function, args)


def _is_known(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module in _MULTIARRAY:
        return attribute in ("_reconstruct", "scalar")
    return name in _KNOWN


def _take(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count or any(item is _MARK for item in stack[-count:]):
        raise PickleError("it takes more than there is")
    taken = stack[-count:]
    del stack[-count:]
    return taken


def _to_mark(stack: list[Any]) -> list[Any]:
    taken = []
    while (item := stack.pop()) is not _MARK:
        taken.append(item)
    return taken[::-1]


def _top(stack: list[Any], kind: type) -> Any:
    if not stack or type(stack[-1]) is not kind:
        raise PickleError("its operations do not fit what they are of")
    return stack[-1]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key, bytes | str) for key in keys):
        raise PickleError("the keys of a dictionary must be text")
    return dict(zip(keys, items[1::2], strict=True))


def _value(found: Any) -> Any:
    """Gives a batch's arrays, which stand at its first level, and numbers of NumPy in its lists."""
    if isinstance(found, dict):
        return {key: _value(value) if isinstance(value, list | _Call) else value for key, value in found.items()}
    if isinstance(found, list):
        return [_array(item) if isinstance(item, _Call) else item for item in found]
    return _array(found) if isinstance(found, _Call) else found


def _array(call: _Call) -> np.ndarray | np.generic | bytes:
    """Makes the array that a call stands for."""
    name = call.function.text.rpartition(".")[2] if isinstance(call.function, _Name) else ""
    if name == "_reconstruct" and isinstance(call.state, tuple):
        # An empty array, then version, shape, dtype, whether the axes are in Fortran's order, and the bytes.
        _, shape, dtype, is_fortran, data = call.state
        return _from_bytes(_bytes(data), _dtype(dtype), shape, "F" if is_fortran is True else "C")
    if name == "_frombuffer":
        data, dtype, shape, order = call.args
        if order not in ("C", "F"):
            raise PickleError(f"an array's order must be C or F, got {order!r}")
        return _from_bytes(_bytes(data), _dtype(dtype), shape, order)
    if name == "scalar":
        dtype, data = call.args
        return _from_bytes(_bytes(data), _dtype(dtype), (), "C")[()]
    raise PickleError("a batch holds arrays only, and this is none")


def _dtype(call: Any) -> np.dtype:
    """Makes a dtype of plain numbers from its text and the order of its bytes."""
    if not (isinstance(call, _Call) and isinstance(call.function, _Name) and call.function.text == "numpy.dtype"):
        raise PickleError("an array's dtype must be one of plain numbers")
    text = call.args[0] if isinstance(call.args, tuple) and call.args else None
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise PickleError(f"an array's dtype must be one of plain numbers, got {text!r}")
    order = call.state[1] if isinstance(call.state, tuple) and len(call.state) > 1 else "|"
    order = order.decode("latin-1") if isinstance(order, bytes) else order
    if order not in ("<", ">", "|", "="):
        raise PickleError(f"the order of bytes must be one of < > | =, got {order!r}")
    return np.dtype(text).newbyteorder(order)


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes | bytearray):
        raise PickleError("an array's data must be bytes")
    return bytes(data)


def _from_bytes(data: bytes, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**40 for n in shape) or len(shape) > 8:
        raise PickleError(f"an array's shape must be a tuple of sizes, got {shape!r:.100}")
    count = 1
    for n in shape:
        count *= n
    if count * dtype.itemsize != len(data):
        raise PickleError(
            f"an array of shape {shape} and {dtype} takes {count * dtype.itemsize} bytes, got {len(data)}"
        )
    array = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)
