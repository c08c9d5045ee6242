"""`renga.nn` in the conformance matrix."""

CASES = {}

EXEMPT = {}
