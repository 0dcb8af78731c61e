import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import Image

from csknet_core.errors import ImageError
from csknet_ros.images import (
    _converters,
    encoding_of,
    fill_message,
    labels_from_message,
    optical_from_message,
    thermal_from_message,
)

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (6, 10), np.uint8)
GREY16 = RNG.integers(0, 65536, (6, 10), np.uint16)
FLOAT = RNG.normal(300, 5, (6, 10)).astype(np.float32)
RGB = RNG.integers(0, 256, (6, 10, 3), np.uint8)


def message(image: np.ndarray, encoding: str, /, **changes) -> Image:
    built = Image()
    fill_message(built, image, encoding)
    for name, value in changes.items():
        setattr(built, name, value)
    return built


@pytest.mark.parametrize(
    ("image", "encoding"),
    [(GREY8, "mono8"), (GREY8, "8UC1"), (GREY16, "mono16"), (GREY16, "16UC1"), (FLOAT, "32FC1")],
)
def test_thermal_images_survive_the_trip(image, encoding):
    got = thermal_from_message(message(image, encoding))
    assert got.dtype == image.dtype
    assert np.array_equal(got, image)


def test_colour_comes_out_as_rgb_whatever_the_order():
    alpha = np.full((6, 10, 1), 9, np.uint8)
    for encoding, image in (
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, alpha], 2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], alpha], 2)),
    ):
        assert np.array_equal(optical_from_message(message(image, encoding)), RGB), encoding
    grey = optical_from_message(message(GREY8, "mono8"))
    assert np.array_equal(grey, np.dstack([GREY8] * 3))


@pytest.mark.parametrize(("image", "encoding"), [(RGB, "rgb8"), (GREY16, "mono16")])
def test_row_padding_is_left_out(image, encoding):
    tight = message(image, encoding)
    rows = np.frombuffer(tight.data, np.uint8).reshape(6, -1)
    padded = np.concatenate([rows, np.full((6, 5), 77, np.uint8)], 1)
    for data in (padded.tobytes(), padded.tobytes()[:-5]):
        built = message(image, encoding, step=padded.shape[1], data=data)
        read = optical_from_message if encoding == "rgb8" else thermal_from_message
        assert np.array_equal(read(built), image)


@pytest.mark.parametrize(("image", "encoding"), [(GREY16, "16UC1"), (FLOAT, "32FC1")])
def test_the_other_byte_order_is_swapped(image, encoding):
    swapped = message(
        image,
        encoding,
        is_bigendian=int(sys.byteorder == "little"),
        data=image.byteswap().tobytes(),
    )
    got = thermal_from_message(swapped)
    assert got.dtype.isnative
    assert np.array_equal(got, image)


def test_decoding_copies_nothing_it_need_not_copy():
    built = message(GREY16, "mono16")
    assert np.shares_memory(thermal_from_message(built), np.frombuffer(built.data, np.uint8))


def test_grey_shown_as_colour_is_thermal_and_false_colours_are_not():
    grey = np.dstack([GREY8] * 3)
    assert np.array_equal(thermal_from_message(message(grey, "rgb8")), GREY8)
    with pytest.raises(ImageError, match="false colours"):
        thermal_from_message(message(RGB, "bgr8"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": b"\0" * 100}, "cut short: 100 bytes, 10x6 rgb8 needs 180"),
        ({"data": b""}, "cut short"),
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"step": 7}, "step is 7 bytes"),
        ({"width": 2**31, "height": 2**31}, "more than"),
        ({"encoding": "16UC1"}, "no colour image"),
        ({"encoding": "unheard_of"}, "'unheard_of' is not supported"),
        ({"encoding": ""}, "not supported"),
    ],
)
def test_bad_colour_messages_say_what_is_wrong(changes, words):
    with pytest.raises(ImageError, match=words):
        optical_from_message(message(RGB, "rgb8", **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": b"\0"}, "cut short"),
        ({"encoding": "yuv422"}, "publish mono8, mono16"),
        ({"height": 0}, "empty"),
        ({"step": 3}, "step is 3"),
    ],
)
def test_bad_thermal_messages_say_what_is_wrong(changes, words):
    with pytest.raises(ImageError, match=words):
        thermal_from_message(message(GREY16, "mono16", **changes))


def test_less_common_colour_encodings_go_to_a_library():
    pytest.importorskip("rosbags.image")
    bayer = message(GREY8, "mono8", encoding="bayer_rggb8")
    assert optical_from_message(bayer).shape == (6, 10, 3)


def test_libraries_for_other_encodings_are_looked_for_once(monkeypatch):
    made = []

    class CvBridge:
        def __init__(self) -> None:
            made.append(self)

        def imgmsg_to_cv2(self, _: Image, encoding: str) -> np.ndarray:
            assert encoding == "rgb8"
            return RGB

    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge))
    _converters.cache_clear()
    try:
        for _ in range(3):
            bayer = message(GREY8, "mono8", encoding="bayer_rggb8")
            assert np.array_equal(optical_from_message(bayer), RGB)
    finally:
        _converters.cache_clear()
    assert len(made) == 1


def test_label_maps_must_be_mono8():
    assert np.array_equal(labels_from_message(message(GREY8, "mono8")), GREY8)
    with pytest.raises(ImageError, match="no label map"):
        labels_from_message(message(GREY16, "mono16"))


@pytest.mark.parametrize(("image", "encoding"), [(GREY8, "rgb8"), (RGB, "mono8"), (FLOAT, "mono8")])
def test_an_array_that_is_not_its_encoding_is_refused(image, encoding):
    with pytest.raises(ImageError, match="is not"):
        fill_message(Image(), image, encoding)


def test_strided_arrays_are_sent_whole():
    assert np.array_equal(thermal_from_message(message(GREY16[:, ::2], "mono16")), GREY16[:, ::2])


def test_a_step_of_gigabytes_allocates_nothing():
    built = message(GREY16[:1], "mono16", step=2**32 - 2)
    tracemalloc.start()
    try:
        got = thermal_from_message(built)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert np.array_equal(got, GREY16[:1])


class Untouchable:
    """A message body that must not be looked into."""

    def __len__(self) -> int:
        return 2**40

    def __getattr__(self, name: str) -> None:
        raise AssertionError(name)

    __iter__ = __getitem__ = __bytes__ = __buffer__ = __getattr__


@pytest.mark.parametrize("decode", [optical_from_message, thermal_from_message])
def test_images_beyond_the_limit_are_refused_before_their_data_is_touched(decode):
    for encoding in ("mono8", "rgb8", "yuv422", "bayer_rggb8"):
        raw = SimpleNamespace(
            encoding=encoding, height=100, width=101, step=0, is_bigendian=0, data=Untouchable()
        )
        with pytest.raises(ImageError, match="101x100 pixels, more than 10000"):
            decode(raw, 10_000)
    packed = SimpleNamespace(format="png", data=Untouchable())
    with pytest.raises(ImageError, match="too many for 10000 pixels"):
        decode(packed, 10_000)


def test_an_image_exactly_at_the_limit_is_taken():
    assert optical_from_message(message(RGB, "rgb8"), 60).shape == (6, 10, 3)
    assert thermal_from_message(message(GREY8, "mono8"), 60).shape == (6, 10)


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [
        ((4, 6), np.uint8, "mono8"),
        ((4, 6), np.uint16, "mono16"),
        ((4, 6), np.float32, "32FC1"),
        ((4, 6, 3), np.uint8, "rgb8"),
    ],
)
def test_the_encoding_of_an_array_is_one_it_can_be_sent_in(shape, dtype, encoding):
    image = np.ones(shape, dtype)
    assert encoding_of(image) == encoding
    fill_message(Image(), image, encoding)


def test_an_array_without_an_encoding_is_refused():
    with pytest.raises(ImageError, match="float64"):
        encoding_of(np.ones((4, 6)))
