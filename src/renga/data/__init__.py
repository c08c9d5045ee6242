"""Data for systems: replay on the device, feeding devices from iterators, labelled images from packages and files."""

from renga import __version__ as __version__
from renga.data._feed import Feed, feed
from renga.data._files import DataError
from renga.data._images import Images, load_images
from renga.data._replay import (
    PrioritisedReplay,
    PrioritisedState,
    ReplayState,
    Sample,
    UniformReplay,
    importance_weights,
)
from renga.data._sequences import (
    DrawnSequences,
    PrioritisedSequenceReplay,
    PrioritisedSequenceState,
    SequenceReplay,
    Sequences,
    SequenceState,
)

__all__ = [
    "DataError",
    "DrawnSequences",
    "Feed",
    "Images",
    "PrioritisedReplay",
    "PrioritisedSequenceReplay",
    "PrioritisedSequenceState",
    "PrioritisedState",
    "ReplayState",
    "Sample",
    "SequenceReplay",
    "SequenceState",
    "Sequences",
    "UniformReplay",
    "feed",
    "importance_weights",
    "load_images",
]
