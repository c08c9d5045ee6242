"""`renga.testing` in the conformance matrix."""

CASES = {}

EXEMPT = {
    "check_transforms": "it is what drives the matrix: tested by tests/testing",
}
