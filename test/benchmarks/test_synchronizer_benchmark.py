"""The stand-in for message_filters on hand-made cases, and the benchmark's streams and sums."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.synchronizer.__main__ import MS, Arrival, make_streams, run_ours, run_theirs
from benchmarks.synchronizer.approximate_time import ApproximateTime
from csknet_core.modality import Modality
from csknet_ros.synchronizer import SyncSettings

RGB, THERMAL = Modality.OPTICAL, Modality.THERMAL


def pairs_of(messages, slop=10, depth=3):
    """Pairs (optical, thermal) of stamps that come out, in order."""
    pairs = []
    sync = ApproximateTime(slop, depth, lambda *pair: pairs.append(pair))
    for modality, stamp in messages:
        sync.add(modality, stamp, stamp)
    return pairs


def test_a_message_takes_the_nearest_of_the_other_stream_at_once():
    assert pairs_of([(RGB, 0), (RGB, 7), (THERMAL, 5)]) == [(7, 5)]


def test_it_takes_the_first_that_is_near_enough_though_a_better_one_follows():
    assert pairs_of([(THERMAL, 5), (RGB, 0), (RGB, 5)]) == [(0, 5)]


def test_both_are_used_up():
    assert pairs_of([(RGB, 0), (THERMAL, 1), (THERMAL, 2)]) == [(0, 1)]


def test_stamps_differ_by_less_than_the_slop():
    assert pairs_of([(RGB, 0), (THERMAL, 10)]) == []
    assert pairs_of([(RGB, 0), (THERMAL, 9)]) == [(0, 9)]


def test_without_partner_nothing_ever_comes_out():
    assert pairs_of([(THERMAL, 100 * n) for n in range(50)]) == []


def test_a_full_queue_forgets_its_oldest():
    kept = [(RGB, 0), (RGB, 20), (RGB, 40), (THERMAL, 0)]
    assert pairs_of(kept) == [(0, 0)]
    assert pairs_of([(RGB, 60), *kept]) == []


def test_a_late_message_that_the_full_queue_forgets_pairs_with_nothing():
    assert pairs_of([(THERMAL, 0), (RGB, 20), (RGB, 40), (RGB, 60), (RGB, 1)]) == []


def test_after_the_clock_jumps_back_a_full_queue_pairs_nothing():
    before = [(RGB, 1000 + 100 * n) for n in range(3)]
    after = [(modality, 100 * n) for n in range(5) for modality in (RGB, THERMAL)]
    assert pairs_of([*before, *after]) == []


def arrivals_of(*messages):
    return [Arrival(m, stamp * MS, arrival * MS) for m, stamp, arrival in messages]


def test_the_figures_are_those_of_a_stream_worked_out_by_hand():
    arrivals = arrivals_of((RGB, 1000, 1010), (THERMAL, 1006, 1020), (RGB, 1008, 1030),
                           (THERMAL, 2000, 2010))  # fmt: skip
    theirs = run_theirs(arrivals, 20 * MS)
    assert (theirs.thermal, theirs.paired, theirs.unanswered) == (2, 1, 1)
    assert theirs.error_ms == 6.0  # took the first, at once
    assert theirs.wait_ms_median == 0.0
    ours = run_ours(arrivals, SyncSettings(slop_ns=20 * MS, max_wait_ns=50 * MS))
    assert (ours.thermal, ours.paired, ours.alone, ours.unanswered) == (2, 1, 1, 0)
    assert ours.error_ms == 2.0  # the better one came 10 ms later
    assert ours.wait_ms_median == pytest.approx((10 + 50) / 2)


def test_streams_have_both_rates_and_lose_rgb_where_told():
    arrivals = make_streams(100.0, 3, (40.0, 50.0))
    optical = [a.stamp_ns / 1e9 - 1 for a in arrivals if a.modality is RGB]
    thermal = [a for a in arrivals if a.modality is THERMAL]
    assert 0.96 * 900 < len(thermal) < 900
    assert 0.96 * 2700 < len(optical) < 2700
    assert not [at for at in optical if 40.1 < at < 49.9]
    assert [a.arrival_ns for a in arrivals] == sorted(a.arrival_ns for a in arrivals)
    assert arrivals == make_streams(100.0, 3, (40.0, 50.0))


def test_the_command_answers_every_thermal_frame_only_with_our_synchroniser(tmp_path):
    from benchmarks.synchronizer import __main__ as command

    app = command.typer.Typer()
    app.command()(command.main)
    out = tmp_path / "synchronizer.json"
    result = CliRunner().invoke(app, ["--seconds", "20", "--json", str(out)])
    assert result.exit_code == 0, result.output
    data = json.loads(out.read_text())
    ours, theirs = data["outcomes"]
    assert ours["unanswered"] == 0
    assert ours["alone"] > 0
    assert theirs["unanswered"] > 0
    assert data["about"]["input_sha256"]
