"""Labelled images from where researchers keep them: scikit-learn's digits, IDX, CIFAR-10, .npz and folders of PNG.

Nothing is downloaded and nothing in a file is executed.
"""

import gzip
import io
import math
import os
import pickle
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class DataError(ValueError):
    """A file of data is missing, truncated or of the wrong shape; the message names it."""


class Images(NamedTuple):
    """Images split for training and for evaluation.

    Attributes:
      train: `[N, H, W, C]`, float32 in [−1, 1].
      test: `[M, H, W, C]`, held out.
      train_labels: `[N]`, int32, or None where the source has no labels.
      test_labels: `[M]`, or None.
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None


def load_images(source: str | os.PathLike, test_share: float = 0.2) -> Images:
    """Loads images by name or path.

    Args:
      source: `"digits"` for scikit-learn's 1,797 real 8×8 digits, or a path: a folder with MNIST's IDX files (plain
        or gzipped) or one such file of images, a folder with CIFAR-10's python batches, an `.npz` with `images` and
        optionally `labels`, or a folder of PNG files, whose subfolders, if there are any, are the classes.
      test_share: share held out, where the source has no test set of its own. The split is the same every time.

    Returns:
      The images and labels of both parts.

    Raises:
      DataError: if the path is not there, or a file is truncated or of the wrong shape.

    Example:
      >>> images = load_images("digits")
      >>> images.train.shape, images.test.shape
      ((1438, 8, 8, 1), (359, 8, 8, 1))
    """
    if source == "digits":
        return _split(*_digits(), test_share)
    path = Path(source)
    if not path.exists():
        raise DataError(f"there is no {path}: data is 'digits' or a path to IDX, CIFAR-10, .npz or PNG files")
    if path.is_file():
        if path.suffix == ".npz":
            return _split(*_npz(path), test_share)
        return _split(_to_images(_idx(path, 3), path), None, test_share)
    if _find(path, "train-images"):
        return _mnist(path)
    if (path / "data_batch_1").exists():
        return _cifar(path)
    if any(path.glob("*.png")) or any(path.glob("*/*.png")):
        return _split(*_png(path), test_share)
    raise DataError(f"{path} holds none of: train-images-idx3-ubyte, data_batch_1, *.png, */*.png")


def _split(images: np.ndarray, labels: np.ndarray | None, test_share: float) -> Images:
    """Shuffles with a fixed seed and holds out a share."""
    order = np.random.default_rng(0).permutation(len(images))
    held_out = round(len(images) * test_share)
    if not 0 < held_out < len(images):
        raise DataError(f"{len(images)} images are too few to hold out a share of {test_share}")
    test, train = order[:held_out], order[held_out:]
    if labels is None:
        return Images(images[train], images[test], None, None)
    return Images(images[train], images[test], labels[train], labels[test])


def _to_images(x: np.ndarray, path: Any) -> np.ndarray:
    """Scales bytes, or floats in [0, 1] or [−1, 1], to float32 in [−1, 1], `[N, H, W, C]`."""
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape:
        raise DataError(f"{path}: images must have shape [N, H, W], [N, H, W, 1] or [N, H, W, 3], got {x.shape}")
    if x.dtype == np.uint8:
        return x.astype(np.float32) / 127.5 - 1.0
    if not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{path}: images must be uint8 or floating, got {x.dtype}")
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high)) or low < -1 or high > 1:
        raise DataError(f"{path}: floating images must lie in [0, 1] or [-1, 1], got [{low:g}, {high:g}]")
    return x.astype(np.float32) * (2.0 if low >= 0 else 1.0) - (1.0 if low >= 0 else 0.0)


def _to_labels(labels: np.ndarray, images: np.ndarray, path: Any) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: labels must be integers of shape ({len(images)},), got {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype(np.int32)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images[..., None] / 8.0 - 1.0).astype(np.float32), bunch.target.astype(np.int32)


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "images" not in archive:
                raise DataError(f"{path}: must hold an array named images, got {sorted(archive)}")
            images = _to_images(archive["images"], path)
            labels = _to_labels(archive["labels"], images, path) if "labels" in archive else None
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds for a damaged archive
        raise DataError(f"{path} cannot be read: {error}") from error
    return images, labels


def _png(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    from PIL import Image

    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and any(p.glob("*.png")))
    files = sorted(path.glob("*/*.png")) if classes else sorted(path.glob("*.png"))
    arrays = []
    for file in files:
        try:
            with Image.open(file) as image:
                arrays.append(np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error}") from error
        if arrays[-1].shape != arrays[0].shape:
            raise DataError(f"{file} has shape {arrays[-1].shape}, but {files[0]} has {arrays[0].shape}")
    images = _to_images(np.stack(arrays), path)
    labels = np.array([classes.index(f.parent.name) for f in files], np.int32) if classes else None
    return images, labels


# MNIST's format: http://yann.lecun.com/exdb/mnist/


def _find(path: Path, prefix: str) -> Path | None:
    return next((p for p in sorted(path.iterdir()) if p.name.startswith(prefix) and p.is_file()), None)


def _idx(path: Path, ndim: int) -> np.ndarray:
    """Reads an IDX file of bytes: magic number, sizes, data."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise DataError(f"{path} is truncated: an IDX header takes {header} bytes, the file has {len(raw)}")
    magic, *shape = struct.unpack(f">{1 + ndim}I", raw[:header])
    if magic != 0x0800 + ndim:
        raise DataError(f"{path} is no IDX file of bytes with {ndim} axes: its magic number is {magic:#06x}")
    expected = header + math.prod(shape)
    if len(raw) != expected:
        raise DataError(f"{path} is truncated or too long: {shape} takes {expected} bytes, the file has {len(raw)}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _mnist(path: Path) -> Images:
    parts: list[Any] = []
    for part in ("train", "t10k"):
        images_file, labels_file = _find(path, f"{part}-images"), _find(path, f"{part}-labels")
        if images_file is None:
            raise DataError(f"{path} has no {part}-images-idx3-ubyte")
        images = _to_images(_idx(images_file, 3), images_file)
        labels = None
        if labels_file is not None:
            labels = _to_labels(_idx(labels_file, 1).astype(np.int32), images, labels_file)
        parts.append((images, labels))
    (train, train_labels), (test, test_labels) = parts
    return Images(train, test, train_labels, test_labels)


# CIFAR-10's python batches: https://www.cs.toronto.edu/~kriz/cifar.html


class _ArraysOnly(pickle.Unpickler):
    """Unpickles dictionaries, lists, bytes and NumPy arrays; anything else is refused and nothing is executed."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core import multiarray, numeric

        allowed = {
            "_reconstruct": multiarray._reconstruct,
            "scalar": multiarray.scalar,
            "_frombuffer": numeric._frombuffer,
        }
        if module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric") and name in allowed:
            return allowed[name]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            import _codecs

            return _codecs.encode
        raise DataError(f"a CIFAR-10 batch holds arrays only, but this file asks for {module}.{name}")


def _cifar(path: Path) -> Images:
    parts = [_cifar_batch(path / f"data_batch_{i}") for i in range(1, 6) if (path / f"data_batch_{i}").exists()]
    test, test_labels = _cifar_batch(path / "test_batch")
    train = np.concatenate([images for images, _ in parts])
    return Images(train, test, np.concatenate([labels for _, labels in parts]), test_labels)


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} is no CIFAR-10 python batch, or truncated: {type(error).__name__}: {error}") from error
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: data must be uint8 of shape [N, 3072], got {data.dtype} of shape {data.shape}")
    images = _to_images(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), path)
    return images, _to_labels(labels, images, path)
