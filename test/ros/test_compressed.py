import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from sensor_msgs.msg import CompressedImage

from csknet_core.errors import ImageError
from csknet_ros.compressed import decode_compressed, encoded_size
from csknet_ros.images import optical_from_message, thermal_from_message

RNG = np.random.default_rng(0)
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), np.uint8), (0, 0), 3)
RAW = RNG.integers(0, 65536, (40, 60), np.uint16)


def message(image: np.ndarray, suffix: str, kind: str = "") -> CompressedImage:
    done, data = cv2.imencode(suffix, image)
    assert done
    return CompressedImage(format=kind or suffix[1:], data=data.tobytes())


def test_colour_comes_out_as_rgb():
    exact = optical_from_message(message(RGB[..., ::-1], ".png", "rgb8; png compressed bgr8"))
    assert np.array_equal(exact, RGB)
    lossy = optical_from_message(message(RGB[..., ::-1], ".jpg", "rgb8; jpeg compressed bgr8"))
    assert np.abs(lossy.astype(int) - RGB).mean() < 4


def test_an_orientation_turns_no_image():
    """The intrinsics are of the sensor's grid."""
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "png", exif=exif)
    assert np.array_equal(
        optical_from_message(CompressedImage(format="png", data=file.getvalue())), RGB
    )


def test_thermal_keeps_its_depth():
    assert np.array_equal(thermal_from_message(message(RAW, ".png")), RAW)
    grey = (RAW >> 8).astype(np.uint8)
    assert np.array_equal(thermal_from_message(message(grey, ".png")), grey)
    assert np.array_equal(thermal_from_message(message(cv2.merge([grey] * 3), ".png")), grey)


def test_false_colours_are_not_temperatures():
    with pytest.raises(ImageError, match="false colours"):
        thermal_from_message(message(RGB, ".png"))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_cut_data_is_refused_at_every_length(suffix):
    whole = message(RGB, suffix)
    for length in (0, 1, 3, 10, 20, 100, len(whole.data) // 2, len(whole.data) - 1):
        cut = CompressedImage(format=suffix[1:], data=whole.data[:length])
        with pytest.raises(ImageError):
            optical_from_message(cut)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_without_its_end_is_told_as_such_whatever_the_decoder_makes_of_it(suffix):
    whole = message(RGB, suffix)
    for length in (len(whole.data) // 2, len(whole.data) - 1):
        with pytest.raises(ImageError, match="cut short"):
            optical_from_message(CompressedImage(format=suffix[1:], data=whole.data[:length]))


def test_an_image_that_decodes_to_another_size_than_its_header_s_is_refused():
    data = bytes(message(RGB, ".jpg").data)
    # EXIF with one entry, which tells decoders to turn the image by 90 degrees.
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    turned = CompressedImage(format="jpeg", data=data[:2] + exif + data[2:])
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_compressed(turned, cv2.IMREAD_COLOR, RGB.size)


def test_more_data_than_pixels_can_need_is_refused_before_it_is_copied():
    whole = message(RGB, ".png")
    padded = CompressedImage(format="png", data=bytes(whole.data) + bytes(16 * RGB.size))
    with pytest.raises(ImageError, match="bytes, too many for 2400 pixels"):
        optical_from_message(padded, 2400)


def test_padding_after_the_image_does_no_harm():
    whole = message(RGB[..., ::-1], ".png")
    padded = CompressedImage(format="png", data=bytes(whole.data) + b"\0" * 7)
    assert np.array_equal(optical_from_message(padded), RGB)


def test_a_header_that_promises_too_much_is_refused_before_decoding():
    data = bytearray(message(RGB, ".png").data)
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError, match="60000x60000 pixels, more than"):
        optical_from_message(CompressedImage(format="png", data=bytes(data)))


def test_other_formats_say_what_to_publish():
    with pytest.raises(ImageError, match="JPEG or PNG"):
        optical_from_message(message(RGB, ".bmp"))
    with pytest.raises(ImageError, match="depth image"):
        thermal_from_message(message(RAW, ".png", "16UC1; compressedDepth"))


def test_random_bytes_never_do_more_than_raise():
    whole = {suffix: bytes(message(RGB, suffix).data) for suffix in (".png", ".jpg")}
    for index in range(400):
        suffix = (".png", ".jpg")[index % 2]
        data = bytearray(whole[suffix])
        for _ in range(RNG.integers(1, 12)):
            data[RNG.integers(len(data))] = RNG.integers(256)
        try:
            image = optical_from_message(CompressedImage(format="x", data=bytes(data)))
        except ImageError:
            continue
        assert image.shape == (*encoded_size(bytes(data)), 3)
