"""The parts of benchmarks/accelerator.py: each module has `run(tiny, done)`, an iterator of rows.

A row is a dictionary of JSON values with a `key`; rows whose key is in `done` are not measured again.
"""
