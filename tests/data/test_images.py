"""Images load from every kind of source, and a bad file is a clear error."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from renga.data import DataError, load_images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (10, 6, 6), np.uint8)
LABELS = (np.arange(10) % 3).astype(np.uint8)


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def test_digits_are_split_the_same_way_every_time():
    images = load_images("digits")
    assert images.train.shape == (1438, 8, 8, 1)
    assert images.train.dtype == np.float32
    assert (images.train.min(), images.train.max()) == (-1.0, 1.0)
    assert set(images.test_labels) == set(range(10))
    again = load_images("digits")
    np.testing.assert_array_equal(images.test, again.test)
    seen = {x.tobytes() for x in images.train}
    assert sum(x.tobytes() in seen for x in images.test) < 5


def test_idx_files_load_with_their_own_test_set(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[:4])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:4])))
    images = load_images(tmp_path)
    np.testing.assert_allclose(images.train[..., 0], PIXELS / 127.5 - 1.0, atol=1e-6)
    np.testing.assert_array_equal(images.test_labels, LABELS[:4])
    alone = load_images(tmp_path / "train-images-idx3-ubyte")
    assert (len(alone.train), len(alone.test), alone.train_labels) == (8, 2, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(PIXELS)[:100], "is truncated or too long: .* takes 376 bytes, the file has 100"),
        (b"\x00\x00", "is truncated: an IDX header takes 16 bytes"),
        (b"GIF89a" + bytes(100), "is no IDX file of bytes with 3 axes"),
    ],
)
def test_a_damaged_idx_file_is_named(content, message, tmp_path):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load_images(file)
    assert str(file) in str(error.value)


def cifar(directory, **changes):
    data = RNG.integers(0, 256, (10, 3072), np.uint8)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        batch = {b"data": data, b"labels": [int(i) for i in LABELS], **changes}
        (directory / name).write_bytes(pickle.dumps(batch, protocol=2))
    return data


def test_cifar_batches_load(tmp_path):
    data = cifar(tmp_path)
    images = load_images(tmp_path)
    assert images.train.shape == (20, 32, 32, 3)
    np.testing.assert_allclose(images.test[0, 0, 1], data[0, [1, 1025, 2049]] / 127.5 - 1.0, atol=1e-6)
    np.testing.assert_array_equal(images.test_labels, LABELS)


def test_code_in_a_cifar_batch_is_refused_and_not_run(tmp_path):
    cifar(tmp_path)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(DataError, match=r"data_batch_2: .* holds arrays only, but this file asks for .*open"):
        load_images(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_damaged_cifar_batch_is_named(tmp_path):
    cifar(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="data_batch_1 is no CIFAR-10 python batch, or truncated"):
        load_images(tmp_path)
    cifar(tmp_path)
    file.write_bytes(pickle.dumps({b"data": np.zeros((3, 5), np.uint8), b"labels": [0, 1, 2]}, protocol=2))
    with pytest.raises(DataError, match=r"data must be uint8 of shape \[N, 3072\], got uint8 of shape \(3, 5\)"):
        load_images(tmp_path)


def test_npz_files_load(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, images=PIXELS, labels=LABELS.astype(int))
    assert load_images(file).train.shape == (8, 6, 6, 1)
    np.savez(file, images=RNG.random((10, 4, 4, 3), np.float32))
    images = load_images(file)
    assert images.train_labels is None
    assert images.train.min() < -0.5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": PIXELS}, r"must hold an array named images, got \['pictures'\]"),
        ({"images": PIXELS[0]}, r"images must have shape .* got \(6, 6\)"),
        ({"images": PIXELS.astype(int)}, "images must be uint8 or floating, got int64"),
        ({"images": PIXELS.astype(float)}, r"must lie in \[0, 1\] or \[-1, 1\]"),
        ({"images": np.full((10, 4, 4), np.nan)}, r"must lie in"),
        ({"images": PIXELS, "labels": LABELS[:3]}, r"labels must be integers of shape \(10,\)"),
        ({"images": PIXELS[:1]}, "1 images are too few to hold out"),
        ({"images": np.array([object()])}, "cannot be read"),
    ],
)
def test_a_bad_npz_file_is_named(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path / "x.npz")


def test_folders_of_png_load_with_subfolders_as_classes(tmp_path):
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        directory = tmp_path / ["cat", "dog", "eel"][label]
        directory.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(directory / f"{i}.png")
    images = load_images(tmp_path)
    assert images.train.shape == (8, 6, 6, 1)
    assert set(images.train_labels) <= {0, 1, 2}
    Image.fromarray(PIXELS[0][:3]).save(tmp_path / "cat" / "z.png")
    with pytest.raises(DataError, match=r"z\.png has shape \(3, 6\)"):
        load_images(tmp_path)


def test_a_missing_or_empty_path_says_what_there_could_be(tmp_path):
    with pytest.raises(DataError, match="there is no .*nowhere: data is 'digits' or a path"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds none of: train-images"):
        load_images(tmp_path)
