"""`renga.optim` in the conformance matrix."""

CASES = {}

EXEMPT = {}
