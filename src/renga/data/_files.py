"""Reading files of data that may be damaged or hostile: plain files only, and never more than memory holds."""

import os
import stat
import zlib
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """A file of data is missing, truncated or of the wrong shape; the message names it.

    Example:
      >>> try:
      ...     load_images("/no/such/images.npz")
      ... except DataError as error:
      ...     print(error)
      there is no /no/such/images.npz: data is 'digits' or a path to IDX, CIFAR-10, .npz or PNG files
    """

    exit_code = 1  # of the command


class UnknownDataError(DataError):
    """What is given is neither the name of data nor a path."""

    exit_code = 2


def read_plain(path: Path) -> bytes:
    """Reads a plain file; a pipe would never answer, and a device never end.

    Raises:
      DataError: if it cannot be read, is no plain file, or is larger than memory.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise DataError(f"{path} cannot be read: it is no plain file")
            require_memory(path, info.st_size)
            return file.read(info.st_size)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def require_memory(path: Any, num_bytes: int) -> None:
    """Refuses what would not fit, before anything of that size is made.

    Raises:
      DataError: if it does not fit.
    """
    memory = memory_left()
    if memory is not None and num_bytes > memory:
        raise DataError(f"{path} would take {num_bytes / 2**30:,.1f} GiB of memory, and {memory / 2**30:,.1f} are free")


def memory_left() -> int | None:
    """Bytes of memory that are free or can be freed, or None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def gunzip(path: Any, data: bytes, limit: int) -> bytes:
    """Unpacks gzip up to a number of bytes, and one more if there is more: the caller finds that it is too long.

    Raises:
      DataError: if the data is damaged.
    """
    unpacked, rest = b"", data
    try:
        while rest and len(unpacked) <= limit:  # a file may hold several members
            member = zlib.decompressobj(wbits=31)
            unpacked += member.decompress(rest, limit + 1 - len(unpacked))
            if not member.eof and len(unpacked) <= limit:
                raise DataError(f"{path} cannot be read: its compressed data ends too early")
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return unpacked
