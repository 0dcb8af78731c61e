import pytest

from csknet_core.training.log import RunLog, read_table


def test_a_resumed_run_drops_what_the_killed_one_logged_after_its_checkpoint(tmp_path):
    first = RunLog(tmp_path, 0)
    for step in range(1, 6):
        first.terms(step, {"total": 1 / step})
    first.scores(4, {"fused": 0.5})
    first.close()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("6,0.")
    second = RunLog(tmp_path, 3)
    second.terms(4, {"total": 0.25})
    second.close()
    table = read_table(tmp_path / "metrics.csv")
    assert table == {"step": [1, 2, 3, 4], "total": [1, 0.5, 0.333333, 0.25]}
    assert read_table(tmp_path / "validation.csv")["step"] == []


def test_curves_are_drawn_and_events_written(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in range(1, 80):
        log.terms(step, {"lr": 0.1, "total": 1 / step, "fused": 0.0})
    log.scores(79, {"fused": 0.4})
    log.draw()
    log.close()
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_a_run_without_scores_draws_its_loss(tmp_path):
    log = RunLog(tmp_path, 0)
    log.terms(1, {"total": 1.0})
    log.draw()
    assert (tmp_path / "curves.png").is_file()


def test_curves_that_cannot_be_drawn_end_no_run(tmp_path, caplog):
    (tmp_path / "curves.png").mkdir()
    log = RunLog(tmp_path, 0)
    log.terms(1, {"total": 1.0})
    log.draw()
    assert "curves not drawn: IsADirectoryError" in caplog.text


@pytest.mark.parametrize("text", ["", "st", "step,to"])
def test_a_table_that_a_kill_left_without_its_header_is_begun_again(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    assert read_table(tmp_path / "metrics.csv").get("total", []) == []
    log = RunLog(tmp_path, 3)
    log.terms(4, {"total": 0.25})
    assert read_table(tmp_path / "metrics.csv") == {"step": [4], "total": [0.25]}


def test_a_number_that_a_kill_cut_short_is_dropped(tmp_path):
    (tmp_path / "validation.csv").write_text("step,fused\n2,0.25\n4,0.3")
    assert RunLog(tmp_path, 4).scored_steps() == [2]
