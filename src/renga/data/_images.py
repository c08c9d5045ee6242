"""Labelled images from where researchers keep them: scikit-learn's digits, IDX, CIFAR-10, .npz and folders of PNG.

Nothing is downloaded and nothing in a file is executed.
"""

import io
import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renga._core.packages import check_installed
from renga.data._files import DataError, UnknownDataError, gunzip, read_plain, require_memory
from renga.data._pickled import PickleError, read_pickle


class Images(NamedTuple):
    """Images split for training and for evaluation.

    Attributes:
      train: `[N, H, W, C]`, float32 in [−1, 1].
      test: `[M, H, W, C]`, held out.
      train_labels: `[N]`, int32, or None where the source has no labels.
      test_labels: `[M]`, or None.

    Example:
      >>> images = load_images("digits")
      >>> float(images.train.min()), float(images.train.max()), sorted(set(images.train_labels.tolist()))
      (-1.0, 1.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
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
        optionally `labels`, or a folder of PNG files, whose subfolders, if there are any, are the classes. Pixels are
        of 8 or 16 bits, or floating in [0, 1] or [−1, 1]; they are never clipped or rounded.
      test_share: share held out, where the source has no test set of its own. The split is the same every time.

    Returns:
      The images and labels of both parts.

    Raises:
      DataError: if the path is not there, or a file is truncated, of the wrong shape, transparent, larger than memory,
        or no plain file.

    Example:
      >>> images = load_images("digits")
      >>> images.train.shape, images.test.shape
      ((1438, 8, 8, 1), (359, 8, 8, 1))
    """
    if source == "digits":
        return _split(*_digits(), test_share)
    path = Path(source)
    if not path.exists():
        is_path = path.suffix or len(path.parts) > 1
        raise (DataError if is_path else UnknownDataError)(
            f"there is no {path}: data is 'digits' or a path to IDX, CIFAR-10, .npz or PNG files"
        )
    if not path.is_dir():
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
    require_memory(path, 4 * x.size)
    if x.dtype in (np.uint8, np.uint16):
        return x.astype(np.float32) / (np.iinfo(x.dtype).max / 2) - np.float32(1.0)
    if x.dtype == bool:
        return x.astype(np.float32) * 2.0 - 1.0
    if not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{path}: images must be uint8, uint16, bool or floating, got {x.dtype}")
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
    if labels.size and not (labels.min() >= 0 and labels.max() < 2**31):
        raise DataError(f"{path}: labels must lie in [0, 2³¹), got [{labels.min()}, {labels.max()}]")
    return labels.astype(np.int32)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    check_installed("the digits", "sklearn")
    from sklearn.datasets import load_digits

    pixels, labels = (np.asarray(part, np.float32) for part in load_digits(return_X_y=True))
    return (pixels.reshape(-1, 8, 8, 1) / 8.0 - 1.0).astype(np.float32), labels.astype(np.int32)


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with zipfile.ZipFile(io.BytesIO(read_plain(path))) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if "images" not in names:
                raise DataError(f"{path}: must hold an array named images, got {sorted(names)}")
            images = _to_images(_npy(path, archive, names["images"]), path)
            labels = None
            if "labels" in names:
                labels = _to_labels(_npy(path, archive, names["labels"]), images, path)
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds for a damaged archive
        raise DataError(f"{path} cannot be read: {error}") from error
    return images, labels


def _npy(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads one array of an archive, if it is as large as it says, and not larger than memory."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{path}: {name} is of an unknown version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        if dtype.hasobject:
            raise DataError(f"{path} cannot be read: {name} holds objects, not numbers")
        expected = math.prod(shape) * dtype.itemsize
        if expected != size - file.tell():
            raise DataError(f"{path}: {name} of shape {shape} takes {expected} bytes, but has {size - file.tell()}")
        require_memory(path, 2 * expected)
        data = file.read(expected)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def _png(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and any(p.glob("*.png")))
    files = sorted(path.glob("*/*.png")) if classes else sorted(path.glob("*.png"))
    arrays: list[np.ndarray] = []
    for file in files:
        arrays.append(_one_png(file, len(files)))
        found, first = arrays[-1], arrays[0]
        if (found.shape, found.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"{file} has shape {found.shape} of {found.dtype}, but {files[0]} has {first.shape} of {first.dtype}"
            )
    images = _to_images(np.stack(arrays), path)
    labels = np.array([classes.index(f.parent.name) for f in files], np.int32) if classes else None
    return images, labels


def _one_png(file: Path, count: int) -> np.ndarray:
    """Reads a PNG as it is: [H, W] or [H, W, 3], of 8 or 16 bits. What cannot be kept exactly is refused."""
    from PIL import Image

    data = read_plain(file)
    if len(data) < 26 or not data.startswith(b"\x89PNG"):
        raise DataError(f"{file} cannot be read: it is no PNG")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    require_memory(file, 16 * width * height * count)
    if bits == 16 and colour != 0:  # Pillow would keep the upper eight
        raise DataError(f"{file} has 16 bits a channel, which can be read of grey images without transparency only")
    try:
        # No other format, whatever the name: some of them start programs.
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
            if has_alpha and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise DataError(f"{file} is transparent in places: lay it over a background first")
            if bits == 16:
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise DataError(f"{file} cannot be read: {error}") from error


# MNIST's format: http://yann.lecun.com/exdb/mnist/


def _find(path: Path, prefix: str) -> Path | None:
    return next((p for p in sorted(path.iterdir()) if p.name.startswith(prefix) and p.is_file()), None)


def _idx(path: Path, ndim: int) -> np.ndarray:
    """Reads an IDX file of bytes: magic number, sizes, data."""
    packed = read_plain(path)
    is_packed, header = packed[:2] == b"\x1f\x8b", 4 + 4 * ndim
    raw = gunzip(path, packed, header) if is_packed else packed
    if len(raw) < header:
        raise DataError(f"{path} is truncated: an IDX header takes {header} bytes, the file has {len(raw)}")
    magic, *shape = struct.unpack(f">{1 + ndim}I", raw[:header])
    if magic != 0x0800 + ndim:
        raise DataError(f"{path} is no IDX file of bytes with {ndim} axes: its magic number is {magic:#06x}")
    expected = header + math.prod(shape)
    require_memory(path, 5 * expected)
    raw = gunzip(path, packed, expected) if is_packed else packed
    if len(raw) != expected:
        size = f"more than {expected}" if len(raw) > expected and is_packed else len(raw)
        raise DataError(f"{path} is truncated or too long: {shape} takes {expected} bytes, the file has {size}")
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


def _cifar(path: Path) -> Images:
    parts = [_cifar_batch(path / f"data_batch_{i}") for i in range(1, 6) if (path / f"data_batch_{i}").exists()]
    test, test_labels = _cifar_batch(path / "test_batch")
    train = np.concatenate([images for images, _ in parts])
    return Images(train, test, np.concatenate([labels for _, labels in parts]), test_labels)


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_pickle(read_plain(path))
    except PickleError as error:
        raise DataError(f"{path} is no CIFAR-10 python batch, or damaged: {error}") from error
    found = (
        {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in batch.items()}
        if isinstance(batch, dict)
        else {}
    )
    data, labels = found.get("data"), found.get("labels")
    if not isinstance(data, np.ndarray) or not isinstance(labels, list | np.ndarray):
        raise DataError(f"{path} is no CIFAR-10 python batch, or damaged: it must hold data and labels")
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: data must be uint8 of shape [N, 3072], got {data.dtype} of shape {data.shape}")
    if isinstance(labels, list) and not all(type(x) is int or isinstance(x, np.integer) for x in labels):
        raise DataError(f"{path}: labels must be integers")
    images = _to_images(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), path)
    try:
        return images, _to_labels(np.array(labels), images, path)
    except OverflowError as error:
        raise DataError(f"{path}: labels must be integers: {error}") from error
