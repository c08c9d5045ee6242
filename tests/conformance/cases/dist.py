"""`renga.dist` in the conformance matrix."""

CASES = {}

EXEMPT = {}
