"""`renga.search` in the conformance matrix."""

CASES = {}

EXEMPT = {}
