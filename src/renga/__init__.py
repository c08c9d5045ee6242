"""Renga: the JAX ecosystem of "JAX at DeepMind" as one package.

Each library is imported by itself and brings no other along:

    from renga import nn, optim, rl, search, dist, testing
"""

__version__ = "0.1.0"
