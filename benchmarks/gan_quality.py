"""How good are the GAN's samples? Trains the defaults on digits and on the ring, and measures.

python benchmarks/gan_quality.py [digits | ring]
"""

import sys

import jax
from record import made, read, write

from renga import loop
from renga.systems import gan


def main():
    """Trains each with seed 0 and keeps its measures."""
    found = read("gan_quality").get("data", {})
    for data in sys.argv[1:] or ("digits", "ring"):
        stamp, config = made(), gan.Config(data=data)
        init, step = gan.make(config)
        state = init(jax.random.key(0))
        for update in loop.iterate(step, state, steps=gan.STEPS, window=gan.STEPS):
            state = update.state
        found[data] = {"steps": gan.STEPS, "seed": 0, **stamp, "measures": gan.evaluate(config, state)}
        print(data, found[data]["measures"])
        write("gan_quality", "gan_quality.py", data=found)


if __name__ == "__main__":
    main()
