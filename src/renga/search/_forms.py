"""In which of two forms a search walks its trees, by platform: the one place that decides it.

`kernels` handles one tree after the other within one compiled call, and keeps at each node what it will select next.
`batched` takes all trees one level down at a time, in operations over the batch. Results are the same.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal

Form = Literal["kernels", "batched"]

# The form on each platform, and the record under benchmarks/results that says which is faster there. Without a record
# the choice is a guess: a GPU runs many threads, and a loop over trees would use one of them.
FORMS: dict[str, tuple[Form, str | None]] = {
    "cpu": ("kernels", "search_speed_gumbel.json"),
    "cuda": ("batched", None),
    "rocm": ("batched", None),
    "tpu": ("batched", None),
}

_forced: contextvars.ContextVar[Form | None] = contextvars.ContextVar("forced_form", default=None)


def form_on(platform: str) -> Form:
    """The form on a platform; batched where the platform is not known."""
    return _forced.get() or FORMS.get(platform, ("batched", None))[0]


@contextlib.contextmanager
def using(form: Form | None) -> Iterator[None]:
    """Traces searches in one form on all platforms, to compare the two; None is the table's choice."""
    token = _forced.set(form)
    try:
        yield
    finally:
        _forced.reset(token)
