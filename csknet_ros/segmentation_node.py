"""The segmentation node: wires cameras, synchroniser, worker and outputs together."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter as RosParameter
from std_msgs.msg import Header

from csknet_core.errors import CsknetError, EngineError, ImageError, NoUsableModalityError
from csknet_core.modality import Modality
from csknet_core.runtime.memory import steady_heap, trim_heap
from csknet_core.runtime.registration import RegistrationSettings
from csknet_core.runtime.segmenter import Segmentation, Segmenter, SegmenterSettings
from csknet_ros.answer_frame import AnswerFrame
from csknet_ros.answering import drop_reason, segment_frame
from csknet_ros.bundle import Recorder, write_bundle
from csknet_ros.decoding import Decoded, decode_frame
from csknet_ros.depth_input import depth_stamp_ns
from csknet_ros.diagnostics import Statistics
from csknet_ros.frame_status import DROPPED, FrameStatus, answered
from csknet_ros.frames import Dropped, DropReason, FrameSet
from csknet_ros.inputs import INFO_TOPICS, Inputs
from csknet_ros.launching import UNUSABLE
from csknet_ros.navigation import GridCamera, NavigationOutputs
from csknet_ros.parameters import BY_NAME, PARAMETERS, NodeSettings, build_settings, describe
from csknet_ros.publishing import Outputs
from csknet_ros.services import Services
from csknet_ros.stamps import SECOND_NS, to_ns
from csknet_ros.synchronizer import PairOrAlone
from csknet_ros.worker import Job, Worker

_THROTTLE_S = 5.0
_MS = 1e-6
_WATCH_NS = SECOND_NS
_TRIM_NS = 30 * SECOND_NS
_OPENING = 6  # times as long as one frame may take, opening an engine may
Success, Failure = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_Transition = Callable[["SegmentationNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: _Transition) -> _Transition:
    """Log what a transition raises: rclpy turns it into ERROR without a word."""

    @wraps(transition)
    def run(node: SegmentationNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            after = "the node goes back to unconfigured: remove the cause and configure it again"
            if transition.__name__ == "on_error":
                after = "the node cannot go on: restart it"
            node.get_logger().error(
                f"{transition.__name__} failed unexpectedly ({type(error).__name__}: {error}); "
                f"{after}\n{traceback.format_exc()}"
            )
            return TransitionCallbackReturn.ERROR

    return run


class SegmentationNode(LifecycleNode):
    """Answers every thermal frame with a label map, or says why not.

    Configure loads the weights and opens the outputs; activate subscribes to the cameras and
    starts the worker; deactivate undoes that and cleanup frees the model. Camera callbacks only
    store messages; decoding, inference and publishing happen in one worker thread.

    Args:
        segmenter_factory: opens the engine; replaceable for tests and other engines.
        name: node name.
        options: passed on to rclpy.
    """

    def __init__(
        self,
        segmenter_factory: Callable[[SegmenterSettings], Segmenter] = Segmenter.load,
        name: str = "csknet",
        **options: Any,
    ) -> None:
        # Before anything that can fail: rclpy destroys nodes that were only half made.
        self._open_segmenter = segmenter_factory
        self._settings: NodeSettings | None = None
        self._settings_lock = threading.Lock()
        self._segmenter: Segmenter | None = None
        self._outputs: Outputs | None = None
        self._navigation: NavigationOutputs | None = None
        self._inputs: Inputs | None = None
        self._sync: PairOrAlone[Any] | None = None
        self._worker: Worker[Any] | None = None
        self._statistics = Statistics()
        self._recorder = Recorder()
        self._paused = self._resumed = False
        self._answer_frame = AnswerFrame(RegistrationSettings())
        self._watched_ns = time.monotonic_ns()
        super().__init__(name, **options)
        for parameter in PARAMETERS:
            self.declare_parameter(parameter.name, parameter.default, describe(parameter))
        self.add_on_set_parameters_callback(self._on_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._operator = Services(self, self._capture, self._enable)
        # Real seconds, also under a paused simulation clock.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_WATCH_NS * 1e-9, self._on_watchdog, clock=steady)
        self.create_timer(_TRIM_NS * 1e-9, trim_heap, clock=steady)

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == Success:
            self.trigger_activate()

    # Lifecycle

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights and open the outputs."""
        try:
            self._settings = build_settings(self._values())
            self._recorder = Recorder(self._settings.bundle.frames)
            self._answer_frame = AnswerFrame(self._settings.segmenter.registration)
            started = time.monotonic()
            self._segmenter = self._open_segmenter(self._settings.segmenter)
            self._outputs = Outputs(self, self._segmenter.classes)
            if self._settings.navigation.frame:
                self._navigation = NavigationOutputs(
                    self,
                    self._segmenter.classes,
                    self._settings.navigation,
                    self._settings.cost_grid,
                )
        except CsknetError as error:
            self.get_logger().error(f"configure failed: {error}")
            self._release()
            return Failure
        self.get_logger().info(
            f"configured: {self._segmenter.name}, {len(self._segmenter.classes)} classes, "
            f"{time.monotonic() - started:.1f} s"
        )
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start answering."""
        assert self._settings is not None
        if self._segmenter is not None:
            self._segmenter.reset()
        self._statistics = Statistics()
        self._sync = PairOrAlone(self._settings.sync, self._on_frame, self._on_dropped)
        self._worker = Worker(self._answer, self._on_superseded, self._on_failure, self._sync.poll)
        # Without an engine since one hung: a fresh one is opened in the worker's thread, watched.
        self._worker.start(self._reopen if self._segmenter is None else lambda: None)
        self._inputs = Inputs(
            self,
            self._on_image,
            self._settings.input_reliability,
            self._settings.input_depth,
            self._settings.transports,
        )
        if self._navigation is not None:
            self._navigation.start(self._settings)
        self.get_logger().info("active")
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop answering; frames still waiting are dropped with a status."""
        self._stop()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and close the outputs."""
        self._release()
        return Success

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self._stop()
        self._release()
        return Success

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected error in a transition."""
        self._stop()
        self._release()
        return Success

    def destroy_node(self) -> None:
        """Stop the worker before the node's handles go away."""
        self._stop()
        self._release()
        super().destroy_node()

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._navigation is not None:
            self._navigation.stop()
        if self._sync is not None:
            self._sync.reset()
        if self._worker is not None:
            left = self._stop_worker(self._worker)
            if left is not None:
                self._finish_dropped(left.frame, DropReason.INACTIVE)
            self._worker = None

    def _stop_worker(self, worker: Worker[Any]) -> Job[Any] | None:
        """Stop the worker, stuck or not; return the frame left unstarted, if any."""
        try:
            return worker.stop()
        except TimeoutError as error:
            self.get_logger().error(f"{error}; its thread is left to itself")
            job = worker.give_up()
            if job is not None:
                # Freed by its own thread, if that ever returns.
                self._segmenter = None
                self._finish_dropped(job.frame, DropReason.ENGINE_STUCK)
            return worker.stop()

    def _release(self) -> None:
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._navigation is not None:
            self._navigation.close()
            self._navigation = None

    # Parameters

    def _values(self) -> dict[str, Any]:
        return {name: self.get_parameter(name).value for name in BY_NAME}

    def _on_parameters(self, changes: list[RosParameter]) -> SetParametersResult:
        ours = {p.name: p.value for p in changes if p.name in BY_NAME}
        # Not by the engine, which may be being opened anew on an active node.
        configured = self._outputs is not None
        for name, value in ours.items():
            fixed = configured and not BY_NAME[name].live
            # A parameter file loaded into a running node lists them all.
            if fixed and value != self.get_parameter(name).value:
                reason = f"{name} is read at configure; deactivate and clean up the node first"
                return SetParametersResult(successful=False, reason=reason)
        try:
            known = {
                name: self.get_parameter(name).value for name in BY_NAME if self.has_parameter(name)
            }
            settings = build_settings({**known, **ours})
        except CsknetError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if configured:
            self._apply(settings)
        return SetParametersResult(successful=True)

    def _apply(self, settings: NodeSettings) -> None:
        """Put live settings in force; each is one assignment, so the worker sees old or new."""
        if self._sync is not None:
            self._sync.settings = settings.sync
        if self._navigation is not None:
            self._navigation.apply(settings)
        with self._settings_lock:
            self._settings = settings
            if self._segmenter is not None:
                _apply_to(self._segmenter, settings)

    # Services

    def _capture(self) -> Path:
        values, segmenter = self._values(), self._segmenter
        settings = self._settings or build_settings(values)
        state = {
            "engine": segmenter.name if segmenter is not None else "none",
            "trouble": segmenter.trouble if segmenter is not None else "",
            "active": self._inputs is not None,
            "paused": self._paused,
        }
        classes = segmenter.classes if segmenter is not None else None
        return write_bundle(settings.bundle, self._recorder, values, state, classes)

    def _enable(self, wanted: bool) -> str:
        """Pause or resume inference; holds through all transitions until the next call."""
        self._resumed = self._resumed or (wanted and self._paused)
        self._paused = not wanted
        text = "inference runs" if wanted else "inference is paused"
        self.get_logger().info(text)
        return text

    # Frames: executor thread

    def _on_image(self, modality: Modality, message: Any) -> None:
        if self._sync is not None and self._worker is not None:
            self._sync.add(modality, to_ns(message.header.stamp), message)
            self._worker.nudge()

    def _on_frame(self, frame: FrameSet[Any]) -> None:
        if self._paused:
            self._finish_dropped(frame, DropReason.PAUSED)
            return
        if self._worker is not None:
            self._worker.put(frame)

    def _on_dropped(self, dropped: Dropped[Any]) -> None:
        status = FrameStatus(dropped.modality.value, DROPPED, "", dropped.reason.value)
        if dropped.modality is Modality.OPTICAL:
            # Only thermal frames are promised an answer; a bad optical one is worth a warning.
            self._warn(f"RGB frame dropped: {dropped.reason.value}")
            return
        self._finish(dropped.frame.data.header, status)

    def _on_superseded(self, job: Job[Any]) -> None:
        self._finish_dropped(job.frame, DropReason.SUPERSEDED)

    # Frames: worker thread

    def _answer(self, job: Job[Any]) -> None:
        segmenter, outputs, settings = self._segmenter, self._outputs, self._settings
        assert outputs is not None
        assert settings is not None
        if segmenter is None:
            raise EngineError(
                "no fresh engine could be opened; deactivate and activate the node to try again"
            )
        frame, started = job.frame, time.monotonic_ns()
        try:
            images = decode_frame(
                frame, self._on_problem, settings.max_image_pixels, segmenter.check
            )
            decoded = time.monotonic_ns()
            shot = self._recorder.decoded(frame.stamp_ns, images)
            if self._resumed:
                # The range and the verdicts of before the pause are old.
                self._resumed = False
                segmenter.reset()
            answer = segment_frame(segmenter, frame, images, settings.fallback_confidence_scale)
        except (ImageError, NoUsableModalityError) as error:
            if self._claim(job, segmenter):
                self._refuse(frame, error)
            return
        except Exception:
            if self._claim(job, segmenter):
                raise
            return
        if not self._claim(job, segmenter):
            return
        shot.answer = answer
        frame_id = self._answer_frame.of(frame, images)
        header = Header(stamp=frame.lead.data.header.stamp, frame_id=frame_id)
        outputs.publish_answer(header, answer)
        self._publish_more(outputs, frame, images, header, answer, segmenter)
        status = answered(frame, answer, segmenter.name)
        status = replace(
            status,
            queue_ms=(started - job.decided_ns) * _MS,
            decode_ms=(decoded - started) * _MS,
            total_ms=(time.monotonic_ns() - frame.lead.arrival_ns) * _MS,
        )
        self._finish(header, status)

    def _refuse(self, frame: FrameSet[Any], error: ImageError | NoUsableModalityError) -> None:
        """End a frame of whose images none can be used."""
        self._warn(f"frame dropped: {error}")
        self._finish_dropped(frame, drop_reason(error))

    def _publish_more(
        self,
        outputs: Outputs,
        frame: FrameSet[Any],
        images: Decoded,
        header: Any,
        answer: Segmentation,
        segmenter: Segmenter,
    ) -> None:
        """Publish what else is wanted of an answered frame; failing at that is logged.

        The frame has had its answer: it must not get a second end.
        """
        assert self._settings is not None
        alpha = self._settings.overlay_alpha
        try:
            camera = self._answer_frame.camera(images)
            self._publish_geometry(outputs, frame, camera, header, answer)
            if outputs.overlay_wanted:
                background = segmenter.background(images.optical, images.thermal, answer)
                if background is not None:
                    outputs.publish_overlay(header, answer, background, alpha)
        except Exception as error:
            self.get_logger().error(
                f"frame answered, but not all its outputs: {type(error).__name__}: {error}",
                throttle_duration_sec=_THROTTLE_S,
            )

    def _publish_geometry(
        self,
        outputs: Outputs,
        frame: FrameSet[Any],
        camera: Modality,
        header: Any,
        answer: Segmentation,
    ) -> None:
        """Publish the intrinsics of the grid's camera, and what a costmap gets of an answer."""
        assert self._settings is not None
        inputs = self._inputs
        info = inputs.intrinsics_of(camera) if inputs is not None else None
        if info is not None:
            outputs.publish_camera_info(header, info)
        navigation = self._navigation
        if navigation is None:
            return
        depth_stamp = depth_stamp_ns(frame, camera, self._settings.sync.offset_ns)
        grid = GridCamera(INFO_TOPICS[camera], info)
        problem = navigation.publish(header, depth_stamp, answer.labels, answer.confidence, grid)
        if problem:
            self._statistics.add_without_points(problem)
            # Not by _warn: its throttle, shared with other warnings, could hide this for ever.
            self.get_logger().warning(
                f"no points for the costmap: {problem}", throttle_duration_sec=_THROTTLE_S
            )

    def _claim(self, job: Job[Any], segmenter: Segmenter) -> bool:
        """Ask for the right to end a frame; an engine that was given up is freed."""
        if self._worker is not None and self._worker.claim(job):
            return True
        segmenter.close()
        return False

    def _reopen(self, device: str = "") -> None:
        """Open a fresh engine; the stuck one is freed by its own thread, if it ever returns."""
        worker, settings = self._worker, self._settings
        assert worker is not None
        assert settings is not None
        before, self._segmenter = self._segmenter, None
        wanted = replace(settings.segmenter, device=device or settings.segmenter.device)
        try:
            segmenter = self._open_segmenter(wanted)
        except Exception as error:  # this thread is needed for what comes next
            self.get_logger().error(
                f"no fresh engine: {error}; deactivate and activate the node to try again"
            )
            return

        if before is not None:
            segmenter.camera_grid = before.camera_grid

        def adopt() -> None:
            with self._settings_lock:
                # Parameters may have changed while it was opened.
                if self._settings is not None:
                    _apply_to(segmenter, self._settings)
                self._segmenter = segmenter

        if not worker.if_current(adopt):
            segmenter.close()

    def _on_problem(self, modality: Modality, error: ImageError) -> None:
        camera, topic = "RGB", "rgb/image"
        if modality is Modality.THERMAL:
            camera, topic = "thermal", "thermal/image"
        self._warn(f"{camera} image on {self._topic(topic)} not used: {error}")

    def _on_failure(self, job: Job[Any], error: Exception) -> None:
        kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
        self.get_logger().error(
            f"frame dropped, inference failed: {kind}{error}",
            throttle_duration_sec=_THROTTLE_S,
        )
        self._finish_dropped(job.frame, drop_reason(error))

    # Both

    def _finish_dropped(self, frame: FrameSet[Any], reason: DropReason) -> None:
        status = FrameStatus(
            frame.primary.value,
            DROPPED,
            "",
            reason.value,
            waited_ms=frame.waited_ns * _MS,
            total_ms=(time.monotonic_ns() - frame.lead.arrival_ns) * _MS,
        )
        self._finish(frame.lead.data.header, status)

    def _finish(self, header: Any, status: FrameStatus) -> None:
        self._statistics.add(status)
        self._recorder.decided(to_ns(header.stamp), status)
        if self._outputs is not None:
            self._outputs.publish_status(header, status)

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=_THROTTLE_S)

    def _topic(self, name: str) -> str:
        return self.resolve_topic_name(name)

    def _replace_stuck(self) -> None:
        """Give up on inference that does not return, and go on with a fresh thread and engine."""
        now = time.monotonic_ns()
        missed, self._watched_ns = now - self._watched_ns - 2 * _WATCH_NS, now
        if self._worker is None or self._settings is None:
            return
        if missed > 0:
            # Not even this watchdog ran: the whole process was stopped or starved, or the machine
            # was suspended.
            self._worker.forgive(missed + _WATCH_NS)
        longest_ns = _OPENING * self._settings.stuck_after_ns
        if self._worker.replace_unprepared(longest_ns, lambda: self._reopen("cpu")):
            self.get_logger().error(
                f"no engine could be opened within {longest_ns * 1e-9:g} s; opening one on the CPU"
            )
        job = self._worker.replace_stuck(self._settings.stuck_after_ns, self._reopen)
        if job is None:
            return
        self.get_logger().error(
            f"inference did not return within {self._settings.stuck_after_ns * 1e-9:g} s "
            "(engine.stuck_after); opening a fresh engine"
        )
        self._finish_dropped(job.frame, DropReason.ENGINE_STUCK)

    def _on_watchdog(self) -> None:
        self._replace_stuck()
        active = self._inputs is not None
        engine = self._segmenter.name if self._segmenter is not None else "none"
        trouble = self._segmenter.trouble if self._segmenter is not None else ""
        health = self._sync.health if self._sync is not None else None
        name = self.get_fully_qualified_name()
        status = self._statistics.report(health, engine, active, trouble, name)
        report = DiagnosticArray(status=[status])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)
        if self._inputs is not None:
            self._inputs.check_silence()


def _apply_to(segmenter: Segmenter, settings: NodeSettings) -> None:
    """Put live settings in force in an engine."""
    segmenter.thermal.settings = settings.segmenter.thermal
    segmenter.policy.settings = settings.segmenter.policy
    if segmenter.registration is not None:
        segmenter.registration.outside = settings.segmenter.registration.outside


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code."""
    steady_heap()
    try:
        rclpy.init(args=arguments)
    except RuntimeError as error:
        # A parameter file that is no YAML, a remapping that is none.
        get_logger("csknet").fatal(f"the ROS arguments cannot be used: {error}")
        return UNUSABLE
    node = None
    try:
        node = SegmentationNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.autostart()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rclpy._rclpy_pybind11.RCLError
        # An interrupt ends the context while the node is still being made.
        if rclpy.ok():
            raise
    except ParameterException as error:
        get_logger("csknet").fatal(f"{error}; see config/segment.yaml for types and ranges")
        return UNUSABLE
    finally:
        _close(node)
    return 0


def _close(node: SegmentationNode | None) -> None:
    """Tear down; a second interrupt while doing so must not show a traceback."""
    try:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


if __name__ == "__main__":
    sys.exit(main())
