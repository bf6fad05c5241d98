"""The numbers behind the figures, against brute force."""

import base64
import csv
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run, predictions
from PIL import Image

from understudy.record import read_lines, write_json, write_text
from understudy.report.blocks import Pictures, Table, Text
from understudy.report.calibration import against_floor, calibration_section
from understudy.report.disagreement import chosen_for_page, disagreement_section, find_disagreements
from understudy.report.make import Written
from understudy.report.numbers import count, interval, p_phrase, p_text, percent, points, size
from understudy.report.pareto import frontier
from understudy.report.run_subject import run_subject


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


def test_the_frontier_is_what_nothing_beats() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        places = [(float(cost), float(gain)) for cost, gain in random.integers(0, 8, (12, 2))]
        beaten = {a for a in places for b in places if a != b and b[0] <= a[0] and b[1] >= a[1]}
        assert frontier(places) == sorted(set(places) - beaten)


def test_curves_are_means_over_seeds(study_page: Path) -> None:
    rows = rows_of(study_page.parent / "report", "curves")
    for name, place in (("plain", 0), ("dkd", 2)):
        runs = [study_page.parent / f"runs/{place}/seed{seed}/metrics.jsonl" for seed in (1, 2, 3)]
        for epoch in (1, 2, 3):
            values = [next(x for x in read_lines(run) if x["epoch"] == epoch - 1)["train.loss"] for run in runs]
            [row] = [r for r in rows if (r["name"], r["quantity"], r["epoch"]) == (name, "train.loss", str(epoch))]
            assert float(row["mean"]) == pytest.approx(statistics.fmean(values))
            assert float(row["std"]) == pytest.approx(statistics.stdev(values))
            assert row["runs"] == "3"


def test_each_loss_term_and_each_stage_has_a_curve(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "run", predictions(150))
    first = {"step": 1, "stage": "paraphrase", "kind": "epoch", "epoch": 0, "train.rebuild.weighted": 3.0}
    step = {"step": 2, "stage": "train", "kind": "step", "epoch": 0, "train.ce.weighted": 9.0}
    write_text(run.metrics, f"{json.dumps(first)}\n{json.dumps(step)}\n{run.metrics.read_text()}")
    written = page_of(run.path)
    rows = rows_of(written.folder, "curves")
    named = {row["quantity"] for row in rows}
    assert {"paraphrase: train.rebuild.weighted", "train.ce.weighted", "train.ce.raw", "val.accuracy"} <= named
    assert all(row["mean"] != "9.0" for row in rows)
    assert "paraphrase: Loss term rebuild" in written.page.read_text()


def test_the_classes_are_those_of_the_runs(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    made_run(tmp_path / "plain", predictions(150))
    run = made_run(tmp_path / "kd", predictions(170), teacher=predictions(190), method=["kd"])
    rows = rows_of(page_of(run.path, baseline=tmp_path / "plain").folder, "classes")
    for number, row in enumerate(rows):
        images = range(number, 200, 4)
        expected = [sum(image < right for image in images) / len(images) for right in (170, 190, 150)]
        assert [float(row[name]) for name in ("kd", "teacher", "plain")] == pytest.approx(expected)
        assert float(row["kd minus plain"]) == pytest.approx(expected[0] - expected[2])
        assert row["test images"] == "50"


def test_disagreements_are_all_images_with_two_answers(tmp_path: Path) -> None:
    student, teacher = predictions(150), predictions(120, seed=1)
    student.logits[190:] = student.logits[190:].roll(1, 1)
    run = made_run(tmp_path / "run", student, teacher=teacher, method=["kd"])
    found = find_disagreements(run)
    answers = [(each.logits.argmax(1).tolist(), each.logits.double().softmax(1)) for each in (student, teacher)]
    labels = student.labels.tolist()
    expected = {image for image in range(200) if answers[0][0][image] != answers[1][0][image]}
    assert {one.place for one in found} == expected
    assert len(found) == 40
    for one in found:
        (own, sure), (taught, other) = ((a[one.place], p[one.place].max().item()) for a, p in answers)
        assert (one.student, one.teacher) == ((own, pytest.approx(sure)), (taught, pytest.approx(other)))
        kinds = {own: "student", taught: "teacher"}
        assert one.kind == kinds.get(labels[one.place], "neither")
    sureness = [one.student[1] * one.teacher[1] for one in found]
    assert sureness == sorted(sureness, reverse=True)
    assert {one.kind for one in found} == {"student", "neither"}
    chosen = chosen_for_page(found, limit=3)
    assert [one.kind for one in chosen] == ["student"] * 3 + ["neither"] * 3


def test_pictures_show_the_images(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", predictions(150), teacher=predictions(152), method=["kd"])
    subject, found = run_subject(run.path), find_disagreements(run)
    assert [one.place for one in found] in ([150, 151], [151, 150])
    pixels = {150: np.arange(64, dtype=np.uint8).reshape(8, 8), 151: np.full((90, 300, 3), 200, np.uint8)}
    section = disagreement_section(subject, found, classes=list("abcd"), pictures=pixels)
    assert section is not None
    text, group = section.blocks
    assert isinstance(text, Text)
    assert isinstance(group, Pictures)
    assert "2 of 200 test images" in text.text
    assert "only the teacher is right: 2" in text.text
    shown = {picture.alt: picture for picture in group.pictures}
    tiny, large = shown["test image 150, labelled c"], shown["test image 151, labelled d"]
    assert np.array_equal(decoded(tiny.source), pixels[150])
    assert decoded(large.source).shape == (67, 224, 3)
    assert (tiny.tiny, large.tiny) == (True, False)
    assert dict(tiny.lines)["student"].startswith("d, ")
    gone = disagreement_section(subject, found, classes=list("abcd"), pictures="no such folder")
    assert gone is not None
    assert gone.blocks[1:] == [Text("The images cannot be shown: no such folder")]


def test_a_teacher_that_always_agrees_has_no_section(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "run", predictions(150), teacher=predictions(150), method=["kd"])
    assert find_disagreements(run) == []
    assert "disagree" not in page_of(run.path).page.read_text()


def test_an_error_is_judged_by_its_noise_floor() -> None:
    floor = {"mean": 0.02, "low": 0.01, "high": 0.03}
    assert "no more than a perfectly" in against_floor({"scores": {"ece": 0.03}, "ece_floor": floor})
    text = against_floor({"scores": {"ece": 0.031}, "ece_floor": floor, "intervals": {"ece": [0.0, 0.05]}})
    assert "ECE 0.031 [0.000, 0.050]: more than a perfectly" in text


def test_errors_above_their_own_floor_are_marked(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", predictions(150))
    record = json.loads(run.evaluation.read_text())
    test = record["splits"]["test"]
    for where, above in ((test, "ece_adaptive"), (test["temperature"], "ece_classwise")):
        for error in ("ece", "ece_adaptive", "ece_classwise"):
            where["scores"][error] = 0.02
            where[f"{error}_floor"]["high"] = 0.019 if error == above else 0.02
    write_json(run.evaluation, record)
    section = calibration_section(run_subject(run.path))
    assert section is not None
    table = section.blocks[1]
    assert isinstance(table, Table)
    marked = {name for name, text in zip(table.header, table.rows[0], strict=True) if text == "0.020!"}
    assert marked == {"adaptive ECE", "class-wise after it"}
    assert table.data is not None
    numbers = dict(zip(table.data.header, table.data.rows[0], strict=True))
    assert numbers["temperature_ece_classwise_floor_high"] == numbers["ece_adaptive_floor_high"] == 0.019


def test_early_exits_are_drawn_where_they_were_evaluated(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "run", predictions(150))
    assert "Early exits" not in page_of(run.path).page.read_text()
    (run.path / "exits").mkdir()
    rows = "kind,macs,accuracy,threshold 1\ncurve,100,0.5,0.1\ncurve,300,0.7,0.2\nchosen,200,0.6,0.3\nmain,400,0.72,\n"
    (run.path / "exits/curve.csv").write_text(rows)
    written = page_of(run.path)
    assert (written.folder / "exits.csv").read_text() == rows
    assert "chosen: 60.00_% at 200; main: 72.00_% at 400".replace("_", "\N{NO-BREAK SPACE}") in written.page.read_text()


def test_a_student_of_several_is_repeated_with_the_others(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "dml/0-cnn-xs", predictions(150), method=["dml"])
    write_json(tmp_path / "dml/result.json", {"students": []})
    assert f"understudy mutual -c {tmp_path}/dml/config.yaml out=again" in page_of(run.path).page.read_text()


def test_what_was_handed_over_in_python_is_not_said_to_repeat(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "run", predictions(150))
    assert "understudy train -c config.yaml" in page_of(run.path).page.read_text()
    write_text(run.config, run.config.read_text().replace("name: digits", "name: object:mine-0123"))
    text = page_of(run.path).page.read_text()
    assert "no command alone can repeat this" in text
    assert "-c config.yaml" not in text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (percent(0.97431), "97.43_%"),
        (points(-0.004), "-0.40"),
        (points(-0.00004), "+0.00"),
        (interval(0.1, None), ""),
        (interval(-0.001, 0.02, signed=True), "[-0.10, +2.00]"),
        (count(288_170), "288_k"),
        (count(0), "0"),
        (count(999_600), "1000_k"),
        (size(1_156_312), "1.16_MB"),
        (p_text(0.0004), "< 0.001"),
        (p_text(0.0213), "0.021"),
        (p_text(None), "\N{EN DASH}"),
        (p_phrase(0.0004), "p < 0.001"),
        (p_phrase(0.0213), "p = 0.021"),
    ],
)
def test_numbers_for_people(shown: str, text: str) -> None:
    assert shown == text.replace("_", "\N{NO-BREAK SPACE}")


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
