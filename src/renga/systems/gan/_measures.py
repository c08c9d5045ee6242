"""How close samples are to real images: distances between two sets, in features or in pixels."""

import numpy as np
from jaxtyping import Float, Int

from renga.data import Images
from renga.loop import RunError
from renga.systems.gan._classifier import train_classifier

Points = Float[np.ndarray, "N D"]


def squared_distances(x: Points, y: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "N M"]:
    """Returns ‖xᵢ − yⱼ‖²."""
    d = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2.0 * x @ y.T
    return np.maximum(d, 0.0)


def frechet_distance(x: Points, y: Float[np.ndarray, "M D"]) -> float:
    """Distance of the Gaussians fitted to two sets of points.

        ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)

    References:
      Dowson & Landau, "The Fréchet distance between multivariate normal distributions", 1982; Heusel et al. 2017, eq.
      6.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(cov_x)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_y @ root), 0.0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x) + np.trace(cov_y) - 2.0 * cross)


def kernel_distance(x: Points, y: Float[np.ndarray, "M D"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel k(x, y) = (xᵀy / D + 1)³.

    References:
      Bińkowski et al., "Demystifying MMD GANs", 2018, eq. 4.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m = len(x), len(y)

    def k(a, b):
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    xx, yy = k(x, x), k(y, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2.0 * k(x, y).mean())


def manifold_measures(real: Points, fake: Float[np.ndarray, "M D"], k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage by balls that reach to the k-th nearest neighbour.

    Of fewer than k + 1 points the farthest is taken.

    References:
      Kynkäänniemi et al., "Improved Precision and Recall Metric", 2019, eq. 1 and 2; Naeem et al., "Reliable Fidelity
      and Diversity Metrics for Generative Models", 2020, eq. 4 and 5.
    """
    k = min(k, len(real) - 1, len(fake) - 1)

    def radii(points):
        return np.partition(squared_distances(points, points), k, axis=1)[
            :, k
        ]  # the nearest of all is the point itself

    d = squared_distances(real, fake)
    in_real, in_fake = d <= radii(real)[:, None], d <= radii(fake)[None]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float(in_fake.any(1).mean()),
        "density": float(in_real.sum(0).mean() / k),
        "coverage": float(in_real.any(1).mean()),
    }


def two_sample_accuracy(real: Points, fake: Float[np.ndarray, "N D"]) -> float:
    """Accuracy of telling real from fake by the nearest other point; 0.5 is indistinguishable.

    References:
      Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", 2017, section 3.
    """
    points = np.concatenate([real, fake])
    is_real = np.arange(len(points)) < len(real)
    d = squared_distances(points, points)
    np.fill_diagonal(d, np.inf)
    return float((is_real[d.argmin(1)] == is_real).mean())


def class_shares(classes: Int[np.ndarray, " N"], num_classes: int) -> Float[np.ndarray, " K"]:
    """Share of each class."""
    return np.bincount(classes, minlength=num_classes) / len(classes)


def _compare(real: np.ndarray, fake: np.ndarray, features: tuple[Points, Points]) -> dict[str, float]:
    """All measures between two sets of images of the same size."""
    return {
        "frechet_distance": frechet_distance(*features),
        "kernel_distance": kernel_distance(*features),
        **manifold_measures(*features),
        "two_sample_accuracy": two_sample_accuracy(real.reshape(len(real), -1), fake.reshape(len(fake), -1)),
    }


def measure(samples: np.ndarray, images: Images) -> dict[str, float]:
    """Measures samples against held-out images, and as many training images against them for comparison.

    Distances and manifolds are taken in the features of a classifier trained on the training images, or in pixels
    where there are no labels. Two-sample accuracy is taken in pixels. Of fewer than two held-out images nothing can be
    measured but their number.
    """
    if not np.isfinite(samples).all():
        raise RunError("gan: the samples are not finite, so there is nothing to measure")
    real = images.test[:1000]
    n = min(len(real), len(samples), len(images.train))
    if n < 2:
        return {"held_out_images": float(len(real))}
    real, fake, other_real = real[:n], samples[:n], images.train[:n]
    if images.train_labels is None:
        features = [x.reshape(n, -1) for x in (real, fake, other_real)]
        classes = {}
    else:
        classifier = train_classifier(images)
        features = [classifier(x)[0] for x in (real, fake, other_real)]
        shares = class_shares(classifier(samples)[1], classifier.num_classes)
        classes = {"classifier_accuracy": classifier.accuracy, "smallest_class_share": float(shares.min())}
        classes |= {f"class_share/{i}": float(s) for i, s in enumerate(shares)}
    found = _compare(real, fake, (features[0], features[1]))
    ideal = _compare(real, other_real, (features[0], features[2]))
    both = {}
    for name in found:
        both |= {name: found[name], f"{name} (real against real)": ideal[name]}
    if ideal["frechet_distance"] > 0:
        both["frechet_ratio"] = found["frechet_distance"] / ideal["frechet_distance"]
    return both | classes
