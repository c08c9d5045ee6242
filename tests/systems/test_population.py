"""A population of a real system: each member is the run of its seed, up to the rounding of a step."""

import jax
import numpy as np

from renga import loop
from renga.systems import graph

SMALL = graph.Config(units=4)


def test_a_member_is_the_run_of_its_seed_alone_up_to_rounding(tmp_path):
    settings = {"steps": 2, "show": False, "num_devices": 1}
    together = loop.run(graph.make, SMALL, seeds=3, directory=tmp_path / "all", **settings)
    alone = loop.run(graph.make, SMALL, seed=2, directory=tmp_path / "one", **settings)
    for all_of_them, one in zip(
        jax.tree.leaves(together.state.params), jax.tree.leaves(alone.state.params), strict=True
    ):
        np.testing.assert_allclose(all_of_them[2], one, rtol=1e-4, atol=1e-6)
    for each, row in zip(
        loop.RunDirectory(together.directory).read_members(),
        loop.RunDirectory(alone.directory).read_metrics(),
        strict=True,
    ):
        np.testing.assert_allclose(each[1]["loss"][2], row["loss"], rtol=1e-5)


def test_numbers_of_a_real_system_are_arguments_of_one_program(unchecked):
    fields = ["learning_rate", "weight_decay", "noise", "units"]
    assert loop.traceable_fields(graph.make, SMALL, fields) == fields[:3]
