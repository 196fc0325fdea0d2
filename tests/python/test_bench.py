"""The benchmark's arithmetic, its tables and its picture; what it measures needs a quiet machine."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import curves
import report
import scaling

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def results(**cpu):
    """Results of hello with this CPU per request in each round."""
    made = report.Results()
    made.rounds["hello"] = {name: [{"cpu": value} for value in values] for name, values in cpu.items()}
    return made


def test_a_ratio_is_that_of_one_round():
    # The machine was ten times slower in the second round: of averages the ratio would be another.
    made = results(ours=[40, 600, 50], mod_wsgi=[100, 1000, 100])
    assert made.ratios("hello", "ours") == [0.4, 0.6, 0.5]
    assert report.spread(made.ratios("hello", "ours")) == "0.50 (0.40-0.60)"


def test_rounds_that_do_not_match_are_refused():
    with pytest.raises(ValueError):
        results(ours=[40, 50], mod_wsgi=[100]).ratios("hello", "ours")


@pytest.mark.parametrize("values, sense, expected", [
    ([0.38, 0.41, 0.50], "<=", "met"),
    ([0.38, 0.43, 0.50], "<=", "within the spread"),
    ([0.43, 0.44, 0.50], "<=", "missed"),
    ([0.40, 0.43, 0.44], ">=", "met"),
    ([0.38, 0.41, 0.43], ">=", "within the spread"),
    ([0.38, 0.40, 0.41], ">=", "missed"),
])
def test_a_target_is_met_by_the_median(values, sense, expected):
    assert report.verdict(values, sense, 0.42) == expected


def test_a_target_that_was_not_measured_is_listed_as_such():
    lines = list(report.targets(results(ours=[40], mod_wsgi=[100])))
    assert sum("not measured in this run" in line for line in lines) == len(report.TARGETS) - 1
    assert "| hello, CPU / mod_wsgi | at most 0.42 | 0.40 (0.40-0.40) | met |" in lines


def test_the_tables_replace_what_stood_between_their_comments(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: x -->\nold\n<!-- end: x -->\nafter\n")
    for _ in range(2):
        report.put_between(page, "x", "new")
        assert page.read_text() == "before\n<!-- begin: x -->\nnew\n<!-- end: x -->\nafter\n"


def test_a_page_without_the_comments_is_refused_and_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- begin: x -->\nold\n")
    with pytest.raises(SystemExit, match="<!-- end: x -->"):
        report.put_between(page, "x", "new")
    assert page.read_text() == "<!-- begin: x -->\nold\n"


@pytest.mark.parametrize("name", ["scripts/bench", "scripts/bench --growth"])
def test_the_page_has_a_place_for_each_table(name):
    text = PAGE.read_text()
    assert text.count(f"<!-- begin: {name} -->") == text.count(f"<!-- end: {name} -->") == 1


@pytest.mark.parametrize("most", [3, 59.9, 60, 131, 999, 12345])
def test_ticks_are_round_and_reach_above_all_values(most):
    ticks = curves.ticks(most)
    assert ticks[0] == 0 and ticks[-1] >= most and 3 <= len(ticks) <= 6
    assert all(len(f"{tick:g}".rstrip("0").replace(".", "")) <= 3 for tick in ticks)


def test_the_picture_is_svg_with_every_point_inside():
    curve = scaling.Curve("Clients", "clients")
    curve.lines = {"we": {1: [50, 60, 55], 64: [52, 61, 57]}, "mod_wsgi": {1: [120, 130, 125], 64: [131] * 3}}
    queue = scaling.Queue("we, 4x5")
    queue.places = [(i, 9 - i) for i in range(10)]
    root = ElementTree.fromstring(curves.picture([curve], [queue]))
    names = [one.tag.rpartition("}")[2] for one in root.iter()]
    assert names.count("polyline") == names.count("polygon") == 2
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) == 4 + len(queue.places)
    assert all(0 <= float(one.get("cx")) <= curves.WIDTH and 0 <= float(one.get("cy")) <= curves.HEIGHT
               for one in circles)


def test_a_queue_says_how_far_a_request_was_run_from_where_it_was_sent():
    queue = scaling.Queue("we")
    queue.places = [(0, 0), (1, 3), (2, 1), (3, 2)]
    assert queue.worst() == 2
    assert queue.correlation() == pytest.approx(0.4)
