import cv2
import numpy as np
import pytest
import yaml
from support.engines import PERSON, ThresholdEngine
from support.engines import SIZE as NETWORK

from csknet_core.data.synthetic import random_frame
from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.camera_pose import rotation_from_quaternion
from csknet_core.runtime.ground import Intrinsics
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer, ThermalSettings
from csknet_core.runtime.registration import (
    Homography,
    Registration,
    RegistrationSettings,
    load_pixel_map,
)
from csknet_core.runtime.rig import (
    Ground,
    Rig,
    read_camera_info,
    rig_from_calibrations,
)
from csknet_core.runtime.segmenter import Segmenter

THERMAL = Intrinsics(300.0, 305.0, 158.0, 121.0, 320, 240, (-0.2, 0.05, 0.001, -0.0005, 0.0))
OPTICAL = Intrinsics(900.0, 900.0, 645.0, 355.0, 1280, 720, (0.08, -0.1, 0.0, 0.0005, 0.02))
TURN = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
BASELINE = np.array([0.12, -0.02, 0.03])


def seen(camera, points):
    """Project points (N, 3) of a camera's axes by OpenCV."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    zero = np.zeros(3)
    return cv2.projectPoints(points, zero, zero, matrix, np.array(camera.distortion))[0][:, 0]


def sample(maps, pixels):
    """Read maps between pixels."""
    x, y = np.ascontiguousarray(pixels.T, np.float32)
    return np.stack([cv2.remap(m, x, y, cv2.INTER_LINEAR)[:, 0] for m in maps], 1)


def plane_points(depth=8.0):
    x, y = np.meshgrid(np.linspace(-3, 3, 9), np.linspace(-2, 2, 7))
    return np.stack([x, y, np.full_like(x, depth)], -1).reshape(-1, 3)


def test_what_stands_at_the_reference_depth_is_found_in_the_other_camera():
    rig = Rig(THERMAL, OPTICAL, TURN, BASELINE, 8.0)
    points = plane_points()
    thermal, optical = seen(THERMAL, points), seen(OPTICAL, points @ TURN.T + BASELINE)
    there = sample(rig.optical_pixels((240, 320), (720, 1280)), thermal)
    assert np.abs(there - optical).max() < 0.1
    inside = (optical > 2).all(1) & (optical < [1277, 717]).all(1)
    back = sample(rig.thermal_pixels((720, 1280), (240, 320)), optical[inside])
    assert np.abs(back - thermal[inside]).max() < 0.1


def test_it_holds_for_images_of_other_sizes():
    rig = Rig(THERMAL, OPTICAL, TURN, BASELINE, 8.0)
    points = plane_points()
    thermal = (seen(THERMAL, points) + 0.5) / 2 - 0.5
    optical = (seen(OPTICAL, points @ TURN.T + BASELINE) + 0.5) / 4 - 0.5
    there = sample(rig.optical_pixels((120, 160), (180, 320)), thermal)
    assert np.abs(there - optical).max() < 0.1


def test_near_the_robot_the_ground_is_the_reference():
    """The camera is 1 m up and looks 0.3 rad down, at points on the ground 2 to 6 m away."""
    rig = Rig(THERMAL, OPTICAL, TURN, BASELINE, 50.0, Ground(1.0, 0.0, 0.3))
    ahead, aside = (a.ravel() for a in np.meshgrid(np.linspace(2, 6, 6), np.linspace(-1, 1, 5)))
    # Forward and down of the world, in axes that look 0.3 rad down.
    forward, down = np.cos(0.3) * ahead + np.sin(0.3), np.cos(0.3) - np.sin(0.3) * ahead
    points = np.stack([aside, down, forward], 1)
    there = sample(rig.optical_pixels((240, 320), (720, 1280)), seen(THERMAL, points))
    assert np.abs(there - seen(OPTICAL, points @ TURN.T + BASELINE)).max() < 0.5


def test_images_of_a_rendered_plane_are_registered_to_less_than_a_pixel():
    """A picture 8 m away is rendered into both cameras through rays, then brought together."""
    picture = cv2.GaussianBlur(random_frame(3, (480, 640)).optical, (0, 0), 2.0)

    def render(camera, rotation, translation):
        rays = camera.rays() @ rotation  # to the thermal camera's axes
        origin = -translation @ rotation
        scale = (8.0 - origin[2]) / rays[..., 2]
        hit = (origin + rays * scale[..., None]).astype(np.float32)
        return cv2.remap(picture, hit[..., 0] * 40 + 320, hit[..., 1] * 40 + 240, cv2.INTER_LINEAR)

    thermal = render(THERMAL, np.eye(3), np.zeros(3))
    optical = render(OPTICAL, TURN, BASELINE)
    registration = Registration(Rig(THERMAL, OPTICAL, TURN, BASELINE, 8.0))
    warped, inside = registration.warp(optical, (240, 320))
    assert inside[60:180, 80:240].all()
    crops = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[60:180, 80:240].astype(np.float32)
             for i in (thermal, warped)]  # fmt: skip
    (dx, dy), response = cv2.phaseCorrelate(*crops)
    assert np.hypot(dx, dy) < 0.2
    assert response > 0.5
    assert np.abs(crops[0] - crops[1]).mean() < 2


def test_what_is_behind_or_far_aside_is_nowhere():
    around = cv2.Rodrigues(np.array([0.0, np.pi, 0.0]))[0]
    x, _ = Rig(THERMAL, OPTICAL, around, BASELINE, 8.0).optical_pixels((240, 320), (720, 1280))
    assert (x == -10).all()


def test_a_rig_is_read_back_and_named_when_it_cannot_be(tmp_path):
    path = tmp_path / "cameras.yaml"
    rig = Rig(THERMAL, OPTICAL, TURN, BASELINE, 8.0, Ground(1.0, 0.1, 0.3))
    rig.save(path)
    again = load_pixel_map(path)
    assert isinstance(again, Rig)
    assert (again.thermal, again.optical, again.ground) == (THERMAL, OPTICAL, rig.ground)
    assert np.array_equal(again.rotation, TURN)
    path.write_text(path.read_text().replace("depth: 8.0", "depth: -1"))
    with pytest.raises(ConfigError, match=r"cameras\.yaml.*depth"):
        load_pixel_map(path)


def write_calibration(path, camera, model="plumb_bob"):
    path.write_text(
        yaml.safe_dump(
            {
                "image_width": camera.width,
                "image_height": camera.height,
                "camera_name": "any",
                "camera_matrix": {
                    "rows": 3,
                    "cols": 3,
                    "data": [camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1],
                },
                "distortion_model": model,
                "distortion_coefficients": {
                    "rows": 1,
                    "cols": 5,
                    "data": list(camera.distortion),
                },
            }
        )
    )


def test_calibration_files_of_ros_and_a_transform_make_a_rig(tmp_path):
    thermal, optical = tmp_path / "thermal.yaml", tmp_path / "rgb.yaml"
    write_calibration(thermal, THERMAL)
    write_calibration(optical, OPTICAL)
    half = np.sin(0.1)
    rig = rig_from_calibrations(
        thermal, optical, [0.1, 0.2, 0.3, 0.0, half, 0.0, np.cos(0.1)], 5.0, [1.0, 0.0, 0.2]
    )
    assert rig.thermal == THERMAL
    assert rig.rotation == pytest.approx(cv2.Rodrigues(np.array([0.0, 0.2, 0.0]))[0])
    assert rig.translation.tolist() == [0.1, 0.2, 0.3]
    assert rig.ground == Ground(1.0, 0.0, 0.2)
    write_calibration(optical, OPTICAL, "equidistant")
    with pytest.raises(ConfigError, match=r"rgb\.yaml.*equidistant"):
        read_camera_info(optical)
    optical.write_text("image_width: 3")
    with pytest.raises(ConfigError, match=r"rgb\.yaml"):
        read_camera_info(optical)


def test_a_quaternion_of_no_length_and_a_rotation_that_is_none_are_refused():
    with pytest.raises(ConfigError, match="no rotation"):
        rotation_from_quaternion(0.0, 0.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="no rotation"):
        Rig(THERMAL, OPTICAL, np.diag([1.0, 1.0, -1.0]), BASELINE)


def on_the_optical_grid(outside):
    """Thermal sees the left half of the optical image."""
    height, width = NETWORK
    matrix = np.diag([0.5, 1.0, 1.0])
    return Segmenter(
        ThresholdEngine(),
        ThermalNormalizer(ThermalSettings()),
        ModalityPolicy(),
        Registration(
            Homography(matrix, (height, width), (height, width)), outside, Modality.OPTICAL
        ),
    )


def thermal_image():
    image = np.random.default_rng(0).integers(29000, 29100, NETWORK).astype(np.uint16)
    image[16:32, 16:48] += 1200
    return image


def optical_image():
    return np.random.default_rng(1).integers(60, 120, (*NETWORK, 3), np.uint8)


def test_on_the_optical_grid_thermal_is_warped():
    ours = on_the_optical_grid("unknown")
    answer = ours.segment(optical_image(), thermal_image())
    assert answer.mode is Mode.FUSED
    people = np.argwhere(answer.labels == PERSON)
    # Columns 16..47 of the thermal image are columns 8..23 of the optical one.
    assert people.min(0).tolist() == [16, 8]
    assert people.max(0).tolist() == [31, 23]
    half = NETWORK[1] // 2
    assert (answer.labels[:, half:] == 255).all()
    assert ours.background(optical_image(), thermal_image(), answer).shape == (*NETWORK, 3)


def test_what_thermal_does_not_see_is_answered_from_rgb_alone():
    ours = on_the_optical_grid("alone")
    answer = ours.segment(optical_image(), thermal_image())
    assert ours.engine.modes == [Mode.FUSED, Mode.OPTICAL_ONLY]
    assert (answer.labels != 255).all()


def test_without_rgb_the_answer_stays_on_the_optical_grid():
    ours = on_the_optical_grid("alone")
    answer = ours.segment(None, thermal_image(), Reason.OPTICAL_LOST)
    assert answer.mode is Mode.THERMAL_ONLY
    people = np.argwhere(answer.labels == PERSON)
    assert people.min(0).tolist() == [16, 8]
    assert (answer.labels[:, NETWORK[1] // 2 :] == 255).all()
    background = ours.background(None, thermal_image(), answer)
    hot = np.argwhere(background > 29600)
    assert (hot.min(0).tolist(), hot.max(0).tolist()) == ([16, 8], [31, 23])


def test_a_grid_needs_a_registration():
    with pytest.raises(ConfigError, match="needs a registration file"):
        RegistrationSettings(grid="optical")
    with pytest.raises(ConfigError, match="sideways"):
        RegistrationSettings("cameras.yaml", grid="sideways")
