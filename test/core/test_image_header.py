"""Sizes are read from headers, and huge images refused before they are decoded."""

import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from csknet_core import image_header
from csknet_core.data.datasets import read_optical, read_thermal
from csknet_core.errors import DataError, ImageError
from csknet_core.image_header import encoded_size, read_image, read_size

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb_png(width: int, height: int) -> bytes:
    """A valid header whose image would be huge, with a few rows of zeros behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(width + 1))),
            chunk(b"IEND", b""),
        ]
    )


def bomb_jpeg(width: int, height: int) -> bytes:
    data = bytearray(cv2.imencode(".jpg", RGB)[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bomb_tiff(path: Path) -> bytes:
    Image.fromarray(RGB).save(path, "TIFF")
    data = path.read_bytes()
    return data.replace(
        struct.pack("<HHIHH", 256, 4, 1, 60, 0), struct.pack("<HHII", 256, 4, 1, 9_000_000)
    )


@pytest.fixture
def no_decoder(monkeypatch):
    """Decoding anything is a failure of the test."""

    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(cv2, "imread", refuse)


@pytest.mark.parametrize("data", [bomb_png(30_000, 30_000), bomb_jpeg(65_000, 65_000)])
@pytest.mark.parametrize("reader", [read_optical, read_thermal])
def test_a_bomb_is_refused_before_it_is_decoded(reader, data, tmp_path, no_decoder):
    path = tmp_path / "bomb.img"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bomb\.img: .*more than 67108864"):
        reader(path)


@pytest.mark.parametrize("kind", [b"IDAT", b"IEND"])
def test_a_png_whose_chunk_claims_gigabytes_is_refused_before_it_is_decoded(kind, no_decoder):
    """Some decoders allocate what a chunk claims: 4 GB for a message of 300 bytes."""
    data = bytearray(small_png())
    at = data.index(kind) - 4
    data[at : at + 4] = struct.pack(">I", 0xFFFF_FFF0)
    with pytest.raises(ImageError, match="cut short"):
        encoded_size(bytes(data))


def test_an_animated_png_is_refused(no_decoder):
    data = small_png()
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    with pytest.raises(ImageError, match="animated"):
        encoded_size(data[:33] + control + data[33:])


def test_a_png_of_endless_chunks_is_refused(no_decoder):
    data = small_png()
    with pytest.raises(ImageError, match="more than 100000 chunks"):
        encoded_size(data[:33] + 100_001 * chunk(b"tEXt", b"") + data[33:])


def small_png() -> bytes:
    return bomb_png(4, 4)


def test_a_huge_tiff_is_refused_too(tmp_path, no_decoder):
    path = tmp_path / "bomb.tif"
    path.write_bytes(bomb_tiff(path))
    with pytest.raises(DataError, match="360000000 pixels"):
        read_optical(path)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path, monkeypatch, no_decoder):
    monkeypatch.setattr(image_header, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "long.png"
    path.write_bytes(bytes(1001))
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        read_image(path, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_ordinary_files_read_as_opencv_reads_them(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), RGB)
    assert np.array_equal(read_image(path, cv2.IMREAD_COLOR), cv2.imread(str(path)))


@pytest.mark.parametrize("content", [None, b"", b"nothing at all"])
def test_what_is_no_image_is_none(tmp_path, content):
    path = tmp_path / "image.png"
    if content is not None:
        path.write_bytes(content)
    assert read_image(path, cv2.IMREAD_COLOR) is None


def test_a_size_that_is_not_the_header_s_is_not_believed():
    small = bomb_png(4, 4)
    decoy = small[:8] + chunk(b"tEXt", struct.pack(">II", 4, 4)) + bomb_png(30_000, 30_000)[8:]
    with pytest.raises(ImageError, match="does not start with its header"):
        encoded_size(decoy)


def test_sizes_are_height_then_width():
    assert encoded_size(bomb_png(7, 5)) == (5, 7)
    assert encoded_size(bomb_jpeg(7, 5)) == (5, 7)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_the_size_of_a_file_is_read_without_decoding_it(tmp_path, suffix, no_decoder):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(RGB).save(path)
    assert read_size(path) == (40, 60)
    path.write_bytes(b"nothing at all")
    assert read_size(path) is None


def test_other_formats_without_their_library_name_the_cure(tmp_path, monkeypatch):
    path = tmp_path / "image.bmp"
    assert cv2.imwrite(str(path), RGB)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        read_optical(path)
