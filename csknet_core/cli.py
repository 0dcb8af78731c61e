"""The `csknet` command; `csknet --help` lists what it does."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from csknet_core.errors import ConfigError, CsknetError
from csknet_core.output_folder import prepare_folder

if TYPE_CHECKING:
    from csknet_core.data.datasets import PairDataset
    from csknet_core.runtime.register import Estimate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()

Weights = Annotated[str, typer.Option(help="Weights file, or the name of shipped weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, onnx-cpu, onnx-int8, torch-cpu, ...")]
Size = Annotated[tuple[int, int], typer.Option(help="Network input, height and width.")]
Classes = Annotated[str, typer.Option(help="Class table: built-in name or YAML file.")]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; an old run goes on.")],
) -> None:
    """Train a network from a recipe; run it again to go on after an interruption."""
    from csknet_core.training.distributed import process_index
    from csknet_core.training.recipe import load_recipe
    from csknet_core.training.trainer import Trainer

    loaded = load_recipe(recipe)
    prepare_folder(out)
    weights = Trainer(loaded, out).run()
    if process_index() == 0:
        console.print(f"weights: {weights}")


@app.command()
def average(
    files: Annotated[list[str], typer.Argument(help="Weights of one network, two or more files.")],
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
) -> None:
    """Average weights, such as those before and after a stage of training."""
    from csknet_core.training.average import average_weights

    _prepare(out, ".safetensors")
    calibrated = average_weights(files, out)
    console.print(f"weights: {out}")
    if calibrated:
        console.print(
            f"temperatures of {', '.join(calibrated)} are left out: calibrate the average "
            "('csknet calibrate')",
            soft_wrap=True,
        )


@app.command()
def calibrate(
    data: Annotated[Path, typer.Option(help="Labelled pairs the network was not trained on.")],
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    weights: Weights = "",
    split: Annotated[str, typer.Option(help="Split of the folder; empty takes all.")] = "val",
    size: Size = (480, 640),
    shift: Annotated[
        list[str] | None,
        typer.Option(help="CLASS:NUMBER, added to that class's logits; may be repeated."),
    ] = None,
) -> None:
    """Make confidences probabilities: fit a temperature for every mode, store it in the weights."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.model.zoo import load_network, save_network
    from csknet_core.training.calibrate import fit_temperatures, shift_classes, sum_shifts

    _prepare(out, ".safetensors")
    network, info = load_network(weights)
    shifts = _shifts(shift or [])
    shift_classes(network, info.classes, shifts)
    pairs = open_pairs(data, split, info.classes)
    with Progress(console=console) as progress:
        task = progress.add_task("calibrating", total=len(pairs))
        fits = fit_temperatures(network, pairs, size, lambda n: progress.update(task, completed=n))
    for mode, fit in fits.items():
        console.print(
            f"{mode.value:>12}: temperature {fit.temperature:.3f}, "
            f"log-likelihood {-fit.before:.4f} -> {-fit.after:.4f}"
        )
        if fit.at_end:
            console.print(
                f"warning: {fit.temperature} is the last temperature tried; are these pairs like "
                "those the network was trained on?",
                soft_wrap=True,
            )
    temperatures = {mode: fit.temperature for mode, fit in fits.items()}
    card = {
        **info.card,
        "shifts": sum_shifts(info.card, shifts),
        "calibrated_on": f"{data.name}/{split}",
    }
    save_network(out, network, info.classes, card, temperatures)
    console.print(f"weights: {out}")


def _shifts(texts: list[str]) -> dict[str, float]:
    shifts = {}
    for text in texts:
        name, _, value = text.partition(":")
        try:
            shifts[name.strip()] = float(value)
        except ValueError as error:
            raise ConfigError(f"--shift {text}: give CLASS:NUMBER, such as person:-1") from error
    return shifts


@app.command()
def pseudo_label(
    data: Annotated[Path, typer.Option(help="Plain folder of pairs without labels.")],
    out: Annotated[Path, typer.Option(help="Folder to write: the pairs with labels.")],
    weights: Annotated[list[str], typer.Option(help="Weights to label with; may be repeated.")],
    boxes: Annotated[
        str, typer.Option(help="Classes of the ids in boxes/NAME.txt, separated by commas.")
    ] = "",
    split: Annotated[
        str, typer.Option(help="Names listed in SPLIT.txt only; empty takes all.")
    ] = "",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least probability.")] = 0.8,
    box_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least probability inside boxes.")
    ] = 0.6,
    box_odds: Annotated[
        float, typer.Option(min=0, help="Factor on the odds of a class inside its boxes.")
    ] = 6.0,
    box_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a missed object's box labelled anyway.")
    ] = 0.0,
    size: Size = (480, 640),
) -> None:
    """Label pairs with what networks are sure of, within the boxes of objects if there are any."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.model.zoo import load_network
    from csknet_core.training.pseudo import PseudoSettings, label_pairs
    from csknet_core.weights.files import find_weights

    paths = [str(find_weights(name)) for name in weights]
    prepare_folder(out)
    classes = load_network(paths[0])[1].classes
    pairs = open_pairs(data, split, classes, layout="plain")
    settings = PseudoSettings(size, threshold, box_threshold, box_odds, box_share=box_share)
    boxed = [name.strip() for name in boxes.split(",") if name.strip()]
    with Progress(console=console) as progress:
        task = progress.add_task("labelling", total=len(pairs))
        counts = label_pairs(
            paths, pairs, out, settings, boxed, lambda n: progress.update(task, completed=n)
        )
    for name, count in zip((*classes.names, "unknown"), counts / counts.sum(), strict=True):
        console.print(f"{name:>12} {100 * count:6.2f} %")
    console.print(f"labels: {out}")


@app.command()
def match_tones(
    data: Annotated[Path, typer.Option(help="Plain folder of pairs, labelled or not.")],
    to: Annotated[Path, typer.Option(help="Pairs whose thermal images have the tones wanted.")],
    out: Annotated[Path, typer.Option(help="Folder to write: the pairs in those tones.")],
    split: Annotated[str, typer.Option(help="Only this split of --data; empty takes all.")] = "",
    to_split: Annotated[str, typer.Option(help="Split of --to; empty takes all.")] = "train",
) -> None:
    """Give thermal images the tones of another camera's, so that one network learns from both."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.data.tone import matching_steps, write_matched

    target = open_pairs(to, to_split)
    pairs = open_pairs(data, split, layout="plain")
    with Progress(console=console) as progress:
        task = progress.add_task("matching tones", total=matching_steps(pairs, target))
        write_matched(pairs, target, out, lambda n: progress.update(task, completed=n))
    console.print(f"pairs: {out}")


@app.command(name="eval")
def evaluate_command(
    data: Annotated[Path, typer.Option(help="Folder of labelled pairs, see README.")],
    weights: Weights = "",
    split: Annotated[str, typer.Option(help="Split of the folder; empty takes all.")] = "val",
    device: Device = "auto",
    size: Size = (480, 640),
    limit: Annotated[int, typer.Option(min=0, help="Only so many pairs; 0 takes all.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures here.")] = None,
) -> None:
    """Score weights on labelled pairs in every mode."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.evaluation.evaluator import evaluate
    from csknet_core.runtime.backends import open_engine
    from csknet_core.weights.files import find_weights

    for target in (json_file, html):
        _prepare(target)
    if html:
        from csknet_core.evaluation.report import check_packages, write_page

        check_packages()
    path = find_weights(weights)
    engine = open_engine(path, size, device)
    folder = open_pairs(data, split, engine.classes)
    with Progress(console=console) as progress:
        task = progress.add_task("scoring", total=min(limit or len(folder), len(folder)))
        result = evaluate(engine, folder, lambda n: progress.update(task, completed=n), limit)
    scores = result.to_json()
    _print_scores(scores)
    name = f"{data.name}/{split}"
    if json_file:
        record = {**scores, "weights": path.name, "data": name}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if html:
        write_page(html, result, engine, folder, f"{path.stem} on {name}")
        console.print(f"page: {html}")


@app.command()
def calibrate_policy(
    data: Annotated[Path, typer.Option(help="Folder of labelled pairs, see README.")],
    weights: Weights = "",
    split: Annotated[str, typer.Option(help="Split of the folder; empty takes all.")] = "val",
    device: Device = "auto",
    size: Size = (480, 640),
    png: Annotated[Path | None, typer.Option(help="Draw the curves here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the curves here.")] = None,
) -> None:
    """Measure how dark RGB may get before thermal alone is better; print the parameters."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.evaluation.darkness import draw_study, study_darkness
    from csknet_core.runtime.backends import open_engine
    from csknet_core.weights.files import find_weights

    _prepare(json_file)
    _prepare_picture(png)
    engine = open_engine(find_weights(weights), size, device)
    pairs = open_pairs(data, split, engine.classes)
    with Progress(console=console) as progress:
        task = progress.add_task("dimming and scoring", total=len(pairs))
        study = study_darkness(engine, pairs, progress=lambda n: progress.update(task, completed=n))
    table = Table(title="mIoU in % by the mean luminance of RGB")
    for column in ("luminance", "frames", "fused", "thermal only"):
        table.add_column(column, justify="right")
    for entry in study.bins:
        scores = _percent(entry.fused), _percent(entry.thermal)
        table.add_row(f"{entry.luminance:.4f}", str(entry.frames), *scores)
    console.print(table)
    if json_file:
        json_file.write_text(json.dumps(asdict(study), indent=2) + "\n", encoding="utf-8")
    if png:
        draw_study(study, png)
    if study.threshold == 0:
        console.print("fused is never worse than thermal alone here; leave the parameters alone")
        return
    console.print("below this luminance thermal alone is better; in the node's parameters:")
    console.print(f"  policy.dark_enter: {study.threshold:.4f}")
    console.print(f"  policy.dark_leave: {1.5 * study.threshold:.4f}")


@app.command()
def register(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The registration, a YAML file.")],
    data: Annotated[Path | None, typer.Option(help="Folder of unaligned pairs.")] = None,
    points: Annotated[Path | None, typer.Option(help="Points picked by hand, a YAML file.")] = None,
    calibration: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Calibrations of both cameras instead: thermal, then RGB."),
    ] = None,
    extrinsics: Annotated[
        tuple[float, float, float, float, float, float, float] | None,
        typer.Option(
            help="With them: x y z qx qy qz qw, as 'tf2_echo RGB_FRAME THERMAL_FRAME' says."
        ),
    ] = None,
    depth: Annotated[float, typer.Option(help="With them: reference depth, metres.")] = 10.0,
    ground: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="With them: height, roll and pitch of the thermal camera."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the folder; empty takes all.")] = "",
    most: Annotated[int, typer.Option(min=4, help="Most pairs used, spread over all.")] = 40,
    png: Annotated[Path | None, typer.Option(help="Draw edges before and after here.")] = None,
) -> None:
    """Find where the thermal camera's pixels are in the RGB image."""
    from csknet_core.data.layouts import open_pairs
    from csknet_core.image_file import write_image
    from csknet_core.runtime.pixel_map import PixelMap
    from csknet_core.runtime.register import draw_check, estimate_from_points
    from csknet_core.runtime.rig import rig_from_calibrations

    _check_register_options(_given(context))
    _prepare(out)
    _prepare(png, ".png")
    pairs = open_pairs(data, split) if data is not None else None
    picks = range(0, len(pairs), max(1, -(-len(pairs) // most))) if pairs is not None else range(0)
    geometry: PixelMap
    if calibration is not None:
        if extrinsics is None:
            raise ConfigError("--calibration needs --extrinsics x y z qx qy qz qw")
        rig = rig_from_calibrations(*calibration, extrinsics, depth, ground)
        rig.save(out)
        geometry, known = rig, "from the calibrations"
    elif points is not None or pairs is not None:
        estimate = _match(pairs, picks) if points is None else estimate_from_points(points)
        estimate.homography.save(out)
        geometry, known = estimate.homography, _quality(estimate)
    else:
        raise ConfigError(
            "nothing to register: give --data, a folder of pairs, or --points, or --calibration"
        )
    console.print(f"{out}: {known}")
    if png is not None and pairs is not None:
        picture = draw_check((pairs.images(index) for index in picks[:3]), geometry)
        write_image(png, picture)


def _given(context: typer.Context) -> set[str]:
    """Return the names of the parameters that are on the command line, defaults left out."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _check_register_options(given: set[str]) -> None:
    """Refuse options that would change nothing, whoever gave them expects something."""
    needs = {"calibration": ("extrinsics", "depth", "ground"), "data": ("split", "most", "png")}
    for needed, names in needs.items():
        useless = [f"--{name}" for name in names if name in given and needed not in given]
        if useless:
            raise ConfigError(f"{', '.join(useless)}: of no use without --{needed}; give that, too")
    if {"points", "calibration"} <= given:
        raise ConfigError("--points and --calibration: give one of the two")
    if "data" in given and "png" not in given and given & {"points", "calibration"}:
        raise ConfigError(
            "--data: beside --points or --calibration it is for the picture alone; give --png, too"
        )


def _match(pairs: PairDataset | None, picks: range) -> Estimate:
    """Estimate a homography from some of the pairs."""
    from csknet_core.runtime.register import estimate_from_pairs

    assert pairs is not None
    with Progress(console=console) as progress:
        task = progress.add_task("reading pairs", total=len(picks))
        images = (pairs.images(index) for index in picks)
        return estimate_from_pairs(images, lambda n: progress.update(task, completed=n))


def _quality(estimate: Estimate) -> str:
    """Say how well a homography is known."""
    known = f"known to about {estimate.residual:.1f} RGB pixels"
    if math.isnan(estimate.correlation):
        return known
    return f"{known}, edges correlate by {estimate.correlation:.2f}"


@app.command()
def predict(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    rgb: Annotated[Path | None, typer.Option(help="RGB image.")] = None,
    thermal: Annotated[Path | None, typer.Option(help="Thermal image, 8 or 16 bit.")] = None,
    weights: Weights = "",
    device: Device = "auto",
    size: Size = (480, 640),
) -> None:
    """Segment one pair, or one image of it: label map, confidence and overlay as PNG."""
    from csknet_core.data.datasets import read_optical, read_thermal
    from csknet_core.image_file import write_image
    from csknet_core.modality import Reason
    from csknet_core.runtime.overlay import draw_overlay
    from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings

    if rgb is None and thermal is None:
        raise ConfigError("nothing to segment: give --rgb, --thermal or both")
    prepare_folder(out)
    optical = read_optical(rgb) if rgb else None
    raw = read_thermal(thermal) if thermal else None
    absence = Reason.OK
    if optical is None or raw is None:
        absence = Reason.OPTICAL_LOST if optical is None else Reason.THERMAL_LOST
    segmenter = Segmenter.load(SegmenterSettings(weights, device, size))
    answer = segmenter.segment(optical, raw, absence)
    background = optical
    if background is None or background.shape[:2] != answer.labels.shape:
        background = raw if raw is not None else optical
    assert background is not None
    overlay = draw_overlay(background, answer.labels, segmenter.classes)
    write_image(out / "label_map.png", answer.labels)
    write_image(out / "confidence.png", answer.confidence)
    write_image(out / "overlay.png", overlay)
    console.print(f"{answer.mode.value} ({answer.reason.value}), pictures in {out}")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder for the .onnx files.")],
    weights: Weights = "",
    size: Size = (480, 640),
) -> None:
    """Write one verified ONNX graph per mode."""
    from csknet_core.modality import Mode
    from csknet_core.runtime.export import export_onnx
    from csknet_core.weights.files import find_weights

    path = find_weights(weights)
    prepare_folder(out)
    for mode in Mode:
        target = out / f"{path.stem}-{mode.value}-{size[0]}x{size[1]}.onnx"
        disagreement = export_onnx(path, mode, size, target)
        console.print(f"{target}  ({100 * disagreement:.3f} % of labels differ from torch)")


@app.command()
def bench(
    weights: Weights = "",
    size: Size = (480, 640),
    device: Annotated[
        list[str] | None, typer.Option(help="Backend to measure; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 20,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 lets it choose.")] = 0,
    profile: Annotated[bool, typer.Option(help="Also say which operators take the time.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the figures here.")] = None,
) -> None:
    """Measure how fast the network runs here in every mode on every backend."""
    from csknet_core.runtime.bench import ALL_DEVICES, draw_bench, run_bench
    from csknet_core.weights.files import find_weights

    _prepare(json_file)
    _prepare_picture(png)
    path = find_weights(weights)
    with Progress(console=console) as progress:
        task = progress.add_task("measuring", total=rounds)
        result = run_bench(
            path, size, device or ALL_DEVICES, rounds, threads=threads, profile=profile,
            progress=lambda n, _: progress.update(task, completed=n),
        )  # fmt: skip
    _print_bench(result.to_json())
    if json_file:
        json_file.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
    if png:
        draw_bench(result, png)


def _print_scores(scores: dict[str, Any]) -> None:
    table = Table(title="IoU in % (mIoU over the classes present)")
    table.add_column("class")
    for mode in scores:
        table.add_column(mode, justify="right")
    first = next(iter(scores.values()))
    for name in first["per_class"]:
        table.add_row(name, *(_percent(score["per_class"][name]) for score in scores.values()))
    table.add_section()
    rows = {
        "mIoU": "miou",
        "mIoU by day": "day",
        "mIoU at night": "night",
        "mIoU, predicted only = 0": "miou_of_table",
        "mean accuracy": "mean_accuracy",
        "boundary mIoU": "boundary_iou",
        "calibration error": "ece",
    }
    for label, key in rows.items():
        table.add_row(label, *(_percent(score[key]) for score in scores.values()))
    console.print(table)


def _print_bench(figures: dict[str, Any]) -> None:
    about = figures["about"]
    table = Table(title=f"{about['size'][1]}x{about['size'][0]} on {about['processor']}")
    for column in ("backend", "mode", "median ms", "p95 ms", "speed-up", "GFLOP/s", "of ceiling",
                   "same labels"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("backend", "mode") else "right")
    for row in figures["timings"]:
        table.add_row(
            row["backend"], row["mode"], f"{row['median_ms']:.1f}", f"{row['p95_ms']:.1f}",
            f"{row.get('speed_up', 1):.2f}", f"{row['gflops']:.1f}",
            f"{100 * row['share_of_ceiling']:.0f} %",
            f"{100 * row['agreement']:.2f} %" if "agreement" in row else "-",
        )  # fmt: skip
    console.print(table)
    counts = ", ".join(f"{m} {n / 1e9:.2f}" for m, n in figures["multiply_adds"].items())
    console.print(f"1e9 multiply-adds a frame: {counts}")
    console.print(f"ceiling, a float32 matrix product: {figures['ceiling_gflops']:.0f} GFLOP/s")
    if figures["cuda_ceiling_gflops"]:
        console.print(f"of the GPU, half precision: {figures['cuda_ceiling_gflops']:.0f} GFLOP/s")
    for mode, costs in figures["profile"].items():
        shares = ", ".join(
            f"{kind} {100 * ms / sum(costs.values()):.0f} %" for kind, ms in list(costs.items())[:5]
        )
        console.print(f"{mode} in ONNX Runtime: {shares}")
    for device, why in figures["absent"].items():
        console.print(f"not measured: {device} ({why})", soft_wrap=True)


def _prepare(target: Path | None, suffix: str = "") -> None:
    """Make the folder of a file to write, so that a wrong path fails before the work.

    Args:
        target: the file; None is none.
        suffix: that the name has to end in, where others are not written or not read again.

    Raises:
        ConfigError: the file cannot be written, or has another suffix.
    """
    if target is None:
        return
    if suffix and target.suffix != suffix:
        raise ConfigError(f"{target}: give the file a name that ends in {suffix}")
    if target.is_dir():
        raise ConfigError(f"{target}: is a folder; give the name of a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{target}: its folder cannot be made ({error.strerror})") from error
    _check_rights(target, target if target.exists() else target.parent)


def _check_rights(target: Path, existing: Path) -> None:
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{target}: cannot be written; check the rights or choose another place")


def _prepare_picture(target: Path | None) -> None:
    """Prepare a file that matplotlib will draw."""
    _prepare(target, ".png")
    if target is not None and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(f"{target}: the picture needs a package: pip install matplotlib")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """Run the command line; a user's mistake prints one line and exits with 2."""
    try:
        app()
    except CsknetError as error:
        print(f"csknet: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
