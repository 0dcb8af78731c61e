"""A bag from a stranger: no bomb goes off, nothing outside it is read or written."""

import os
import re
import struct

import pytest
from rosbags.rosbag1 import Writer as Writer1
from support import hostile_bags as hostile
from support.bags import START_NS, scene, write_bag
from support.engines import ThresholdEngine, threshold_segmenter
from support.hostile_bags import BOMB_BYTES, McapChunk, change_database, change_metadata, write_mcap

from csknet_core.errors import DataError
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay import inspection, unpacking
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.reader import BagReader
from csknet_ros.replay.replay import Job, Run
from csknet_ros.replay.storage import OpenBag
from csknet_ros.replay.unpacking import unpack_bz2, unpack_lz4, unpack_zstd
from csknet_ros.replay.workers import run_job
from csknet_ros.replay.writer import BagWriter
from csknet_ros.synchronizer import SyncSettings

TOPICS = Topics("/rgb/image", "/thermal/image")


def small_bag(path, frames=1):
    return write_bag(path, frames, labels=False)


def read(bag):
    """Read everything, in the way of `csknet replay`."""
    with BagReader(bag, TOPICS) as reader:
        return list(reader.messages())


def refused(bag, text=""):
    """Check that a bag is refused by name, and return how much memory that took."""

    def act():
        with pytest.raises(DataError, match=re.escape(bag.name)) as error:
            read(bag)
        assert text in str(error.value)
        assert len(str(error.value)) < 1000

    return hostile.peak_bytes(act)


def mcap_bomb(path, data, compression, size=BOMB_BYTES, listed=None):
    return write_mcap(path, [McapChunk(data, compression, size)], listed)


BOMBS = {
    "chunk without an index": lambda p: mcap_bomb(p / "a.mcap", hostile.zstd_bomb(True), "zstd"),
    "chunk in an index": lambda p: mcap_bomb(
        p / "a.mcap", hostile.zstd_bomb(False), "zstd", listed=[0]
    ),
    "chunk that claims to be small": lambda p: mcap_bomb(
        p / "a.mcap", hostile.zstd_bomb(False), "zstd", 1000, [0]
    ),
    "lz4 chunk": lambda p: mcap_bomb(p / "a.mcap", hostile.lz4_bomb(), "lz4", 1000),
    "packed message": lambda p: hostile.write_message_bomb(p / "a", hostile.zstd_bomb(True)),
    "packed message without a size": lambda p: hostile.write_message_bomb(
        p / "a", hostile.zstd_bomb(False)
    ),
    "packed file": lambda p: hostile.write_file_bomb(p / "a", hostile.zstd_bomb(False)),
    "bz2 chunk of ROS 1": lambda p: hostile.write_ros1(
        p / "a.bag", Writer1.CompressionFormat.BZ2, hostile.bz2_bomb()
    ),
    "lz4 chunk of ROS 1": lambda p: hostile.write_ros1(
        p / "a.bag", Writer1.CompressionFormat.LZ4, hostile.lz4_bomb()
    ),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_refused_in_little_memory(tmp_path, monkeypatch, make):
    # Sizes that nobody declares only show while unpacking: a low limit keeps this test small.
    monkeypatch.setattr(unpacking, "MOST_BYTES", 32 << 20)
    bag = make(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.*")) < 3 << 20
    assert refused(bag, "unpacks to") < 100 << 20


def test_a_packed_file_must_fit_into_the_folder_for_temporary_files(tmp_path, monkeypatch):
    bag = hostile.write_file_bomb(tmp_path / "a", hostile.zstd_bomb(False))
    monkeypatch.setattr(unpacking, "MOST_BYTES", 2 * BOMB_BYTES)
    left = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(unpacking, "_LEFT_FREE_BYTES", left - (1 << 20))
    monkeypatch.setattr(unpacking.tempfile, "gettempdir", lambda: str(tmp_path))
    refused(bag, "unpacks to")


@pytest.mark.parametrize("unpack", [unpack_zstd, unpack_lz4, unpack_bz2])
def test_what_is_packed_well_is_unpacked(unpack):
    pack = {
        unpack_zstd: unpacking.zstd.compress,
        unpack_lz4: unpacking.lz4.frame.compress,
        unpack_bz2: unpacking.bz2.compress,
    }[unpack]
    data = os.urandom(1000) * 40
    assert unpack(pack(data)) == data
    assert unpack(pack(data) + pack(data), 80_000) == 2 * data
    with pytest.raises(DataError, match="39999 are allowed"):
        unpack(pack(data), 39_999)
    with pytest.raises(DataError, match="cut short"):
        unpack(pack(data)[:-5])
    with pytest.raises(DataError, match="frames"):
        unpack(pack(b"") * 1001)


def test_a_chunk_that_is_listed_twice_is_refused(tmp_path):
    chunk = McapChunk(bytes(100), "", 100)
    refused(write_mcap(tmp_path / "a.mcap", [chunk], [0, 0]), "same bytes in two chunks")


def test_chunks_that_overlap_in_time_are_refused_beyond_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "MOST_AT_A_TIME", 250)
    one_after_another = [McapChunk(bytes(100), "", 100, (10 * i, 10 * i + 9)) for i in range(5)]
    path = write_mcap(tmp_path / "a.mcap", one_after_another, list(range(5)))
    OpenBag(path).close()
    touching = [McapChunk(bytes(100), "", 100, (10 * i, 10 * i + 20)) for i in range(5)]
    refused(write_mcap(tmp_path / "b.mcap", touching, list(range(5))), "overlap in time")


@pytest.mark.parametrize("at", ["record", "string", "sequence"])
def test_an_absurd_length_takes_no_memory(tmp_path, at):
    if at == "record":
        chunk = struct.pack("<BQHIQQ", 5, 1 << 33, 0, 0, START_NS, START_NS)
        bag = write_mcap(tmp_path / "a.mcap", [McapChunk(chunk, "", len(chunk))], [0])
        assert refused(bag) < 10 << 20
        return
    bag = small_bag(tmp_path / "a")
    place = b"mono8\0" if at == "string" else struct.pack("<I", 64 * 96)
    message = next(raw for c, _, raw in OpenBag(bag).messages() if c.topic == TOPICS.thermal)
    start = message.index(place) - 4 * (at == "string")
    broken = message[:start] + b"\xff\xff\xff\x7f" + message[start + 4 :]
    change_database(bag, "UPDATE messages SET data = ? WHERE topic_id = 2", broken)

    def act():
        with BagReader(bag, TOPICS) as reader:
            assert [message.kind for message in reader.messages()] == ["rgb"]
            assert reader.skipped.counts == {"thermal message damaged": 1}

    assert hostile.peak_bytes(act) < 10 << 20


@pytest.mark.parametrize(
    "name", ["../other/other.db3", "/tmp/x.db3", "..\\x.db3", "C:\\x.db3", "..", "", "a\0.db3"]
)
def test_a_name_in_the_metadata_leads_nowhere_else(tmp_path, name):
    bag = change_metadata(small_bag(tmp_path / "a"), relative_file_paths=[name])
    refused(bag, "leads out of the bag")


def test_the_folder_a_bag_was_recorded_in_is_no_way_out(tmp_path):
    bag = change_metadata(small_bag(tmp_path / "a"), relative_file_paths=["old_name/a.db3"])
    assert len(read(bag)) == 2


def test_a_name_that_is_a_path_once_sqlite_has_decoded_it_is_refused(tmp_path):
    small_bag(tmp_path / "secret", 2)
    bag = small_bag(tmp_path / "a")
    name = "..%2fsecret%2fsecret.db3"
    (bag / "a.db3").rename(bag / name)
    change_metadata(bag, relative_file_paths=[name])
    refused(bag, "rename it")


@pytest.mark.parametrize("name", ["a.db3", "metadata.yaml"])
def test_a_link_out_of_the_bag_is_refused_and_one_within_is_followed(tmp_path, name):
    other = small_bag(tmp_path / "other" / "a")
    bag = small_bag(tmp_path / "a")
    (bag / name).rename(bag / "moved")
    (bag / name).symlink_to("moved")
    assert len(read(bag)) == 2
    (bag / name).unlink()
    (bag / name).symlink_to(other / name)
    refused(bag, "link that leads out")


@pytest.mark.parametrize("name", ["a.db3", "metadata.yaml"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    bag = small_bag(tmp_path / "a")
    (bag / name).unlink()
    os.mkfifo(bag / name)
    refused(bag, "no file")


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE schema; CREATE VIEW schema AS SELECT 4 AS schema_version",
        "ALTER TABLE messages RENAME TO kept; CREATE TABLE messages(id INTEGER PRIMARY KEY, "
        "topic_id INTEGER, timestamp INTEGER, data BLOB AS (zeroblob(1000)));"
        "INSERT INTO messages SELECT id, topic_id, timestamp FROM kept; DROP TABLE kept",
        "CREATE VIRTUAL TABLE extra USING rtree(id, low, high)",
    ],
    ids=["view", "generated column", "virtual table"],
)
def test_a_database_that_computes_what_is_read_is_refused(tmp_path, script):
    bag = change_database(small_bag(tmp_path / "a"), script)
    refused(bag, "no plain table")


@pytest.mark.parametrize(
    "changes",
    [
        {"starting_time": {"nanoseconds_since_epoch": 10**400}},
        {"duration": {"nanoseconds": float("nan")}},
        {"relative_file_paths": "a.db3"},
        {"relative_file_paths": [["a.db3"]]},
        {"topics_with_message_count": {"x": 1}},
        {"version": "new"},
    ],
)
def test_metadata_of_another_form_is_refused(tmp_path, changes):
    refused(change_metadata(small_bag(tmp_path / "a"), **changes))


def test_metadata_with_references_is_refused(tmp_path):
    bag = small_bag(tmp_path / "a")
    file = bag / "metadata.yaml"
    laughs = "[&a [x, x], &b [*a, *a], &c [*b, *b], [*c, *c]]"
    file.write_text(
        file.read_text().replace("compression_format: ''", f"compression_format: {laughs}")
    )
    refused(bag, "references (*name)")


def test_names_with_control_characters_are_refused(tmp_path):
    bag = tmp_path / "a.mcap"
    with BagWriter(bag) as writer:
        writer.text("/\x1b]0;owned\x07", START_NS, "x")
    refused(bag, "no plain text")


@pytest.mark.parametrize(
    "change", ["timestamp = 'soon'", "timestamp = -1", "data = 7", "data = NULL"]
)
def test_a_database_with_values_of_other_types_is_refused(tmp_path, change):
    bag = small_bag(tmp_path / "a", 2)
    script = (
        "ALTER TABLE messages RENAME TO kept; CREATE TABLE messages(id, topic_id, timestamp, data);"
        "INSERT INTO messages SELECT * FROM kept; DROP TABLE kept;"
    )
    refused(change_database(bag, f"{script} UPDATE messages SET {change} WHERE id = 3"))


def test_message_definitions_in_a_bag_are_not_used(tmp_path):
    # rosbags would evaluate the constant, which has 2^33 bits, and run code made of the rest.
    hostile_definition = "module a { const uint32 X = 1 << 8589934592; };"
    bag = change_database(
        small_bag(tmp_path / "a"),
        "UPDATE message_definitions SET encoding = 'ros2idl', encoded_message_definition = ?",
        hostile_definition,
    )
    assert hostile.peak_bytes(lambda: read(bag)) < 10 << 20
    assert len(read(bag)) == 2


def test_what_a_bag_says_names_no_file(tmp_path):
    bag, out = tmp_path / "in" / "bag", tmp_path / "out"
    with BagWriter(bag) as writer:
        for index in range(3):
            stamp = START_NS + index
            for topic, image in zip(("/../../rgb", "/../../thermal"), scene(index), strict=False):
                writer.image(topic, stamp, stamp, "../../frame", image)
            writer.text("/../../phase", stamp, "../../phase")
    before = {file for file in tmp_path.rglob("*") if not file.is_relative_to(out)}
    job = Job(Run("../../run", SegmenterSettings(), SyncSettings()), bag, write_bag=out / "a.mcap")
    segmenter = threshold_segmenter(ThresholdEngine())(SegmenterSettings())
    result = run_job(job, segmenter)
    assert result.complete, result.problem
    assert len(result.frames) == 3
    assert {file for file in tmp_path.rglob("*") if not file.is_relative_to(out)} == before
    assert [file.name for file in out.iterdir()] == ["a.mcap"]


def test_a_message_type_in_a_bag_imports_no_package_but_of_messages(tmp_path, monkeypatch):
    pytest.importorskip("rclpy", reason="the bag player needs ROS")
    from csknet_ros.tools.bag_player import message_class

    (tmp_path / "trap.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("trap/msg/Image", "os.path/msg/Image", "/msg/Image", "gone/msg/Image", ""):
        with pytest.raises(ImportError, match="not installed"):
            message_class(name)
    assert message_class("sensor_msgs/msg/Image").__name__ == "Image"
