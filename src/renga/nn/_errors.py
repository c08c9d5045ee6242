"""The errors that `renga.nn` raises beside plain ValueError and TypeError."""


class MissingRNGError(ValueError):
    """Random numbers were asked for, but `init` or `apply` was given no key."""


class NonEmptyStateError(ValueError):
    """A function with state was transformed by `transform`, which has no place for it."""


class MissingParameterError(ValueError):
    """`apply` asked for a parameter or a state that its trees do not hold."""


class JaxUsageError(ValueError):
    """A side effect of a module happened inside a JAX transformation that cannot carry it."""
