"""Tests of programs that are transformed: the same numbers under every transformation."""

from renga.testing._transforms import check_transforms

__all__ = ["check_transforms"]
