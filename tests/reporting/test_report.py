"""The report: honest, deterministic, self-contained, and every number in it stands in results.json."""

import json
import re
from html.parser import HTMLParser

import pytest
from made_up_run import MODELS, RUN_BOOK, inputs

from tasks.reporting import card, figures, html, markdown, sources


@pytest.fixture(scope="module")
def made_up():
    return inputs()


@pytest.fixture(scope="module")
def results(made_up):
    return card.build(made_up)


@pytest.fixture(scope="module")
def drawn(results, made_up, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    names = figures.draw_all(results, made_up.curves, folder / "figures")
    (folder / "report.md").write_text(markdown.render(results, names))
    html.render(results, folder / "figures", RUN_BOOK, folder / "index.html")
    return folder


def numbers(value) -> set[str]:
    """Every way in which a number of results.json may be written in the report, and the numbers in its sentences."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, (int, float)):
        x = abs(value)
        return {f"{x:,}", f"{x:g}", f"{x:.0f}", f"{x:.1f}", f"{x:.2f}", f"{x:.3f}", f"{100 * x:.1f}"}
    if isinstance(value, str):
        return set(re.findall(r"\d[\d,]*(?:\.\d+)?", value))
    items = value.values() if isinstance(value, dict) else value
    return set().union(*map(numbers, items), numbers(len(value)))


def test_every_number_of_the_markdown_is_in_results(results, drawn):
    text = (drawn / "report.md").read_text()
    text = re.sub(
        r"R1|Dev\d|MATH-500|AIME 2024|table 2|\(figures/[^)]*\)|pass@16|cons@16|95 %|% of candidates", "", text
    )
    known = numbers(json.loads(sources.as_json(results)))
    f = results["funnel"]
    known |= {
        f"{100 * n / f['candidates']:.1f}" for n in (f["candidates"], f["kept"], *(r["rejected"] for r in f["rules"]))
    }
    stated = set(re.findall(r"\d[\d,]*(?:\.\d+)?", text))
    assert len(stated) > 100
    assert stated - known == set()


def test_twice_the_same_bytes(results, made_up, drawn, tmp_path):
    again = card.build(made_up)
    assert sources.as_json(again) == sources.as_json(results)
    names = figures.draw_all(again, made_up.curves, tmp_path / "figures")
    assert markdown.render(again, names) == (drawn / "report.md").read_text()
    files = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(files) == 2 * len(names) >= 18
    for name in files:
        assert (tmp_path / "figures" / name).read_bytes() == (drawn / "figures" / name).read_bytes(), name
    html.render(again, tmp_path / "figures", RUN_BOOK, tmp_path / "index.html")
    assert (tmp_path / "index.html").read_bytes() == (drawn / "index.html").read_bytes()


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links, self.outside, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src", "action", "data"):
                (self.links if value.startswith("#") else self.outside).append(value)


def test_html_opens_offline_and_holds_together(drawn):
    text = (drawn / "index.html").read_text()
    page = Page()
    page.feed(text)
    assert [link for link in page.outside if not link.startswith("data:")] == []
    assert not page.tags & {"script", "link", "iframe", "img"}
    css = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "@import" not in css and "url(" not in css and "prefers-color-scheme: dark" in css
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", without_names) == []
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "&lt;b&gt;" in text  # what a model wrote is shown, not run
    assert text.count("<svg") == 9 and "CPU-seconds" in text


def test_main_table_between_its_markers(drawn):
    table = markdown.main_table((drawn / "report.md").read_text())
    assert table.count("\n| ") >= len(MODELS) and "Protocol: 200 problems" in table
    with pytest.raises(ValueError, match="r1 run report"):
        markdown.main_table("nothing here")


def test_expectations_follow_the_numbers(results):
    assert all(e["met"] for e in results["expectations"]) and len(results["expectations"]) == 14
    x = inputs()
    x.metrics["evaluate/r1"] |= {"language_consistency": 0.9, "cons_at_k": 0.1}
    x.metrics["evaluate/base"] |= {"pass_at_1": 0.35}
    x.metrics["r1_zero"] |= {"length_last": 5.0}
    weak = card.build(
        inputs(
            metrics=x.metrics,
            paired=lambda a, b: {"difference": 0.0, "ci95": [-0.01, 0.01], "problems": 200, "left_out": 0},
        )
    )
    missed = {e["expectation"] for e in weak["expectations"] if not e["met"]}
    for words in (
        "Language consistency of R1",
        "Base pass@1",
        "three times",
        "length grows",
        "R1 is above",
        "Dev1 dips",
        "Dev2 recovers",
        "distilled",
        "cons@k",
    ):
        assert any(words in m for m in missed), words
    readings = [c["reading"] for s in weak["students"] for c in s["comparisons"]]
    assert any("did not learn" in r for r in readings) and not any("beats" in r for r in readings)
    assert all("No difference" in d["reading"] for d in weak["differences"])


def test_levels_are_asked_of_the_cpu_recipe_alone():
    names = {e["expectation"] for e in card.build(inputs(recipe="gpu"))["expectations"]}
    assert not any("80 %" in n or "10 and 30" in n or "200 problems" in n for n in names) and len(names) >= 9


def test_absent_sections_are_left_out_with_a_note(tmp_path):
    """A recipe that lists one model of the user's own and nothing else."""
    x = inputs()
    metrics = {"evaluate/mine": x.metrics["evaluate/r1"] | {"elicitation": {}}}
    few = card.build(
        inputs(models={"mine": "models/mine"}, metrics=metrics, curves={}, rollouts=[], stages=[], recipe="gpu")
    )
    assert few["models"][0]["label"] == "mine" and few["by_stage"] is None and few["students"] == []
    assert len(few["notes"]) == 9 and all("Left out" in n for n in few["notes"])
    names = figures.draw_all(few, {}, tmp_path / "figures")
    assert names == []
    assert "mine" in markdown.render(few, names)
    assert "Left out" in html.render(few, tmp_path / "figures", {}, tmp_path / "index.html").read_text()


def test_student_of_rl_is_told_or_found_by_its_size():
    assert [s["rl"] for s in card.build(inputs())["students"]] == ["student-rl", None]
    assert [s["rl"] for s in card.build(inputs(student_of_rl="llama"))["students"]] == [None, "student-rl"]


def test_a_funnel_that_loses_rows_is_refused():
    x = inputs()
    x.metrics["reasoning"]["kept"] -= 1
    with pytest.raises(ValueError, match="dropped silently"):
        card.build(x)


def test_damaged_curves_name_file_line_and_column(tmp_path):
    (tmp_path / "r1.csv").write_text("step,reward\n1,0.5\n2,oops\n")
    with pytest.raises(ValueError, match=r"r1\.csv:3: reward is 'oops'"):
        sources.read_curves(tmp_path)
    (tmp_path / "r1.csv").write_text("step,reward\n1,\n")
    assert sources.read_curves(tmp_path) == {"r1": {"step": [1.0], "reward": [None]}}
