"""Measures of samples: closed forms, and what they say of equal and of different sets."""

import numpy as np
import pytest

from renga.data import load_images
from renga.systems.gan import _measures as measures
from renga.systems.gan import _points
from renga.systems.gan._classifier import train_classifier

RNG = np.random.default_rng(0)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    n = 200_000
    x = RNG.standard_normal((n, 2)) * [1.0, 2.0] + [0.0, 1.0]
    y = RNG.standard_normal((n, 2)) * [3.0, 2.0] + [1.0, 1.0]
    assert measures.frechet_distance(x, y) == pytest.approx(1.0 + (3 - 1) ** 2, rel=0.02)
    assert measures.frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_is_unbiased_between_equal_distributions():
    d = [measures.kernel_distance(RNG.standard_normal((50, 3)), RNG.standard_normal((60, 3))) for _ in range(200)]
    assert abs(np.mean(d)) < 4 * np.std(d) / np.sqrt(len(d))
    assert measures.kernel_distance(RNG.standard_normal((50, 3)), RNG.standard_normal((50, 3)) + 1) > 0.5


def test_manifold_measures_tell_quality_from_diversity():
    real = np.concatenate([RNG.standard_normal((100, 2)), RNG.standard_normal((100, 2)) + 20])
    one_mode = RNG.standard_normal((200, 2))
    found = measures.manifold_measures(real, one_mode)
    assert found["precision"] > 0.9
    assert 0.3 < found["recall"] < 0.6
    assert 0.3 < found["coverage"] < 0.6
    far = measures.manifold_measures(real, one_mode + 100)
    assert far["precision"] == far["recall"] == far["density"] == far["coverage"] == 0.0
    same = measures.manifold_measures(real, np.concatenate([one_mode[:100], one_mode[:100] + 20]))
    assert 0.9 < same["density"] < 1.1


def test_two_sample_accuracy_is_a_half_for_equal_sets_and_one_for_different_ones():
    x, y = RNG.standard_normal((300, 4)), RNG.standard_normal((300, 4))
    assert measures.two_sample_accuracy(x, y) == pytest.approx(0.5, abs=0.06)
    assert measures.two_sample_accuracy(x, y + 50) == 1.0
    assert measures.two_sample_accuracy(x, x.copy()) == 0.0  # copies: each one's nearest is of the other set


def test_ring_coverage_counts_modes_and_quality():
    modes = _points.centres("ring")
    perfect = np.repeat(modes, 100, axis=0) + 0.02 * RNG.standard_normal((800, 2)).astype(np.float32)
    found = _points.coverage("ring", perfect)
    assert found["modes_found"] == 8
    assert found["high_quality_share"] == pytest.approx(np.exp(-4.5) * -1 + 1, abs=0.02)  # P(χ₂ ≤ 3)
    assert _points.coverage("ring", perfect[:200])["modes_found"] == 2
    assert _points.coverage("grid", np.zeros((100, 2), np.float32))["modes_found"] == 1


def test_the_classifier_reads_digits_and_the_measures_know_real_from_noise():
    images = load_images("digits")
    classifier = train_classifier(images)
    assert classifier.accuracy >= 0.97
    noise = RNG.uniform(-1, 1, (400, 8, 8, 1)).astype(np.float32)
    features = [classifier(x)[0] for x in (images.test, images.train[:359], noise)]
    assert measures.frechet_distance(features[0], features[2]) > 5 * measures.frechet_distance(features[0], features[1])
