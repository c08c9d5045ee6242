"""Images load from every kind of source, and a bad file is a clear error."""

import gzip
import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from renga.data import DataError, _files, load_images
from renga.data._pickled import PickleError, read_pickle

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
    with pytest.raises(DataError, match=r"data_batch_2 .* holds arrays only, but this file asks for .*open"):
        load_images(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_cifar_batches_of_every_protocol_load_to_the_same_numbers(protocol):
    data = RNG.integers(0, 256, (2, 3072), np.uint8)
    for array in (data, np.asfortranarray(data), data.astype(">i2"), np.array([1.5, np.inf], np.float32), data[:0]):
        batch = {b"data": array, "labels": [1, 2**40, np.int64(3)], b"names": [b"a", b""], "more": (None, True, -1.5)}
        found = read_pickle(pickle.dumps(batch, protocol=protocol))
        assert found["labels"] == batch["labels"]
        assert (found[b"names"], found["more"]) == (batch[b"names"], batch["more"])
        assert found[b"data"].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[b"data"], array)


# As Python 2 and NumPy 1 wrote it.
OLD = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05U\x01b\x87"
    b"q\x06Rq\x07(K\x01K\x01K\x04\x86q\x08cnumpy\ndtype\nq\tU\x02u1K\x00K\x01\x87q\nRq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff"
    b"\xff\xff\xffK\x00tq\x0cb\x89U\x04\x00\x01\xfe\xfftq\rbU\x06labelsq\x0e]q\x0f(K\x06K\x09eu."
)


def test_a_batch_as_python_2_wrote_it_loads():
    found = read_pickle(OLD)
    np.testing.assert_array_equal(found[b"data"], [[0, 1, 254, 255]])
    assert found[b"labels"] == [6, 9]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"U\x02u1", b"U\x02O8", "dtype must be one of plain numbers, got 'O8'"),
        (b"U\x02u1", b"U\x02u8", "takes 32 bytes, got 4"),
        (b"K\x01K\x04\x86", b"K\xffK\xff\x86", r"shape \(255, 255\) and uint8 takes 65025 bytes, got 4"),
        (b"K\x01K\x04\x86", b"K\x01N\x86", "shape must be a tuple of sizes"),
        (b"cnumpy.core.multiarray\n_reconstruct", b"cnumpy\nndarray", "asks for numpy.ndarray"),
        (b"cnumpy.core.multiarray\n_reconstruct", b"cos\nsystem", "asks for os.system"),
        (b"\x89U\x04\x00\x01\xfe\xff", b"\x89N", "data must be bytes"),
        (b"]q\x0f(K\x06K\x09e", b"cos\nsystem\n)\x81", "has the operation NEWOBJ"),
        (b"]q\x0f(K\x06K\x09e", b"h\x63", "KeyError"),
        (b"eu.", b"eu", "IndexError|ValueError|no end"),
        (b"(U\x04data", b"(K\x04NNN000", "keys of a dictionary must be text|more than there is"),
    ],
)
def test_a_crafted_pickle_is_refused(old, new, message):
    assert old in OLD
    with pytest.raises(PickleError, match=message):
        read_pickle(OLD.replace(old, new))


def test_no_damage_to_a_pickle_does_anything_but_a_refusal_or_a_value():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        data = bytearray(OLD)
        for i in rng.integers(0, len(data), rng.integers(1, 4)):
            data[i] = rng.integers(256)
        try:
            found = read_pickle(bytes(data))
        except PickleError:
            continue
        parts = found.values() if isinstance(found, dict) else [found]
        assert {type(v) for v in parts} <= {np.ndarray, list, tuple, dict, int, bool, float, bytes, str, type(None)}


def test_a_damaged_cifar_batch_is_named(tmp_path):
    cifar(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="data_batch_1 is no CIFAR-10 python batch, or damaged"):
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
        ({"images": PIXELS.astype(int)}, "images must be uint8, uint16, bool or floating, got int64"),
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


def test_pixels_of_every_kind_become_the_same_numbers_or_are_refused(tmp_path):
    expected = PIXELS / 127.5 - 1.0

    def load(save):
        for i, pixels in enumerate(PIXELS):
            save(pixels).save(tmp_path / f"{i}.png")
        images = load_images(tmp_path)
        return np.sort(np.concatenate([images.train, images.test]).mean(-1), axis=None)

    rgba = lambda alpha: lambda x: Image.fromarray(np.dstack([x, x, x, np.full_like(x, alpha)]))
    ways = {
        "grey": Image.fromarray,
        "16 bits": lambda x: Image.fromarray(x.astype(np.uint16) * 257),
        "colour": lambda x: Image.fromarray(np.dstack([x, x, x])),
        "palette": lambda x: Image.fromarray(x).convert("P"),
        "opaque": rgba(255),
        "grey with alpha": lambda x: Image.fromarray(np.dstack([x, np.full_like(x, 255)])),
    }
    for name, way in ways.items():
        np.testing.assert_allclose(load(way), np.sort(expected, axis=None), atol=1e-6, err_msg=name)
    with pytest.raises(DataError, match=r"0\.png is transparent in places"):
        load(rgba(128))
    bits = load(lambda x: Image.fromarray(x > 127))
    assert set(bits) == {-1.0, 1.0}
    Image.fromarray(PIXELS[0].astype(np.uint16)).save(tmp_path / "3.png")
    with pytest.raises(DataError, match=r"3\.png has shape \(6, 6\) of uint16, but .*0\.png has \(6, 6\) of uint8"):
        load_images(tmp_path)
    raw = bytearray((tmp_path / "0.png").read_bytes())
    raw[24:26] = 16, 2
    (tmp_path / "0.png").write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"0\.png has 16 bits a channel"):
        load_images(tmp_path)
    np.savez(tmp_path / "x.npz", images=PIXELS.astype(np.uint16) * 257)
    found = load_images(tmp_path / "x.npz")
    everything = np.sort(np.concatenate([found.train, found.test]), axis=None)
    np.testing.assert_allclose(everything, np.sort(expected, axis=None), atol=1e-6)


def test_what_never_ends_never_answers_or_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, "/dev/zero"):
        with pytest.raises(DataError, match="cannot be read: it is no plain file"):
            load_images(path)
    huge = struct.pack(">4I", 0x0803, 2**31, 2**10, 2**10)
    (tmp_path / "huge").write_bytes(gzip.compress(huge + bytes(1 << 20)))
    with pytest.raises(DataError, match=r"huge would take [\d,.]+ GiB of memory"):
        load_images(tmp_path / "huge")
    (tmp_path / "bomb").write_bytes(gzip.compress(idx(PIXELS) + bytes(1 << 26)))
    with pytest.raises(DataError, match="376 bytes, the file has more than 376"):
        load_images(tmp_path / "bomb")
    (tmp_path / "cut").write_bytes(gzip.compress(idx(PIXELS))[:-20])
    with pytest.raises(DataError, match="cut cannot be read: its compressed data ends too early"):
        load_images(tmp_path / "cut")
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((4000, 100, 100), np.uint8))
    monkeypatch.setattr(_files, "memory_left", lambda: 10_000_000)
    with pytest.raises(DataError, match=r"x\.npz would take"):
        load_images(tmp_path / "x.npz")
    Image.fromarray(np.zeros((3000, 3000), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png would take"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([-1, 0], "labels must lie in"), ([2**40, 0], "labels must lie in"), ([0.5, 1], "labels must be integers")],
)
def test_labels_that_are_none_are_refused(labels, message, tmp_path):
    np.savez(tmp_path / "x.npz", images=PIXELS[:2], labels=np.array(labels))
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
