"""Pages in a real browser: nothing is fetched or goes wrong, tables sort, plots are drawn."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import opened_browser, opened_page
from click.testing import CliRunner
from planted_records import plant
from required import missing

from hemline.cli import cli
from hemline.errors import HemlineError

pytestmark = pytest.mark.browser

CACHE = os.environ.get("XDG_CACHE_HOME")  # before a fixture sets another one for each test
# a point of the first plot with a name, in pixels of the window
POINT = """() => {
  const view = [...Bokeh.index].find(each => each.model.renderers?.length > 4);
  const points = view.model.renderers.find(each => each.data_source.data.name);
  const { x, y } = points.data_source.data;
  const box = view.el.getBoundingClientRect();
  return [
    box.x + view.frame.x_scale.compute([...x][0]), box.y + view.frame.y_scale.compute([...y][0]),
  ];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if importlib.util.find_spec("playwright") is None:
        missing("browser", "Playwright is not installed")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ.pop("XDG_CACHE_HOME", None)
    if CACHE is not None:
        os.environ["XDG_CACHE_HOME"] = CACHE
    try:
        with opened_browser() as found:
            yield found
    except HemlineError as error:
        missing("browser", str(error))
    finally:
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="module")
def report(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a bundle with records of every kind."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(bundle, folder / "bundle")
    plant(folder / "bundle")
    words = ["report", str(folder / "bundle"), "-o", str(folder / "report.html")]
    assert CliRunner().invoke(cli, words).exit_code == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def evaluation(bundle: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of an evaluation."""
    folder = tmp_path_factory.mktemp("evaluation") / "new"
    words = ["evaluate", str(bundle / "int8.tflite"), "--data", str(data_folder), "-o", str(folder)]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "report.html"


@pytest.mark.smoke
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_draws_its_plots_and_fetches_nothing(
    browser: Any, report: Path, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None,
    )
    page.goto(report.as_uri())
    page.locator("html[data-drawn]").wait_for(state="attached")
    assert complaints == []
    addresses = [url for url in requests if not url.startswith(("data:", "blob:"))]
    assert addresses == [report.as_uri()]
    plots = page.locator("[data-plot]")
    assert plots.count() >= 3
    for at in range(plots.count()):
        assert plots.nth(at).locator("canvas").count() > 0
    # a corner of the picture itself, so that what is drawn counts and not what was asked for
    corner = page.locator("[data-plot=pareto] canvas").first.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)"
    )
    assert corner == ([255, 255, 255] if scheme == "light" else [22, 24, 27])


def test_a_change_of_the_scheme_draws_the_plots_anew(browser: Any, report: Path) -> None:
    page = opened_page(browser, report, color_scheme="light")
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-drawn=dark]").wait_for(state="attached")
    corner = page.locator("[data-plot=pareto] canvas").first.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)"
    )
    assert corner == [22, 24, 27]


@pytest.mark.parametrize("touch", [False, True])
def test_pointing_at_a_cell_or_tapping_it_shows_its_figures(
    browser: Any, report: Path, touch: bool
) -> None:
    page = opened_page(browser, report, width=390 if touch else 1280, has_touch=touch)
    page.locator("[data-plot=pareto]").scroll_into_view_if_needed()
    where = page.evaluate(POINT)
    if touch:
        page.touchscreen.tap(*where)
    else:
        page.mouse.move(where[0] - 2, where[1])
        page.mouse.move(*where)
    shown = page.locator(".bk-Tooltip")
    shown.get_by_text("hem-50k · int8.tflite").wait_for()
    shown.get_by_text("accuracy: 98.50 %").wait_for()
    shown.get_by_text("in rounds").wait_for()


def test_a_name_is_shown_where_it_is_pointed_at_and_never_run(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    name = "<img src=x onerror=alert(1)> $$x$$"
    shutil.copytree(report.with_name("bundle"), tmp_path / "bundle")
    for file in ("manifest.json", "records.jsonl"):
        path = tmp_path / "bundle" / file
        path.write_text(path.read_text().replace('"hem-50k"', json.dumps(name)))
    words = ["report", str(tmp_path / "bundle"), "-o", str(tmp_path / "report.html")]
    assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    page = opened_page(browser, tmp_path / "report.html")
    dialogs: list[object] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    page.locator("[data-plot=pareto]").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate(POINT))
    page.locator(".bk-Tooltip").get_by_text(name).wait_for()
    assert page.title().startswith(name)
    assert page.locator("img[src=x]").count() == 0
    assert dialogs == []


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_table_sorts(browser: Any, report: Path, by: str) -> None:
    page = opened_page(browser, report)
    table = page.get_by_role("region", name="All measurements")
    head = table.get_by_role("columnheader", name="size")

    def press() -> None:
        if by == "mouse":
            head.get_by_role("button").click()
        else:
            head.get_by_role("button").focus()
            page.keyboard.press("Enter")

    def sizes() -> list[float]:
        at = table.get_by_role("columnheader").all_inner_texts().index(head.inner_text())
        rows = table.locator("tbody tr").all()
        return [float(row.locator("th, td").nth(at).inner_text().split()[0]) for row in rows]

    before = sizes()
    press()
    assert head.get_attribute("aria-sort") == "ascending"
    assert sizes() == sorted(before)
    press()
    assert head.get_attribute("aria-sort") == "descending"
    assert sizes() == sorted(before, reverse=True)


@pytest.mark.parametrize("width", [360, 768, 1100, 1280])
@pytest.mark.parametrize("kind", ["report", "evaluation"])
def test_no_page_scrolls_sideways(
    browser: Any, request: pytest.FixtureRequest, kind: str, width: int
) -> None:
    page = opened_page(browser, request.getfixturevalue(kind), width=width)
    page.locator("details").evaluate_all("found => found.forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if kind == "report" and width != 768:  # the first table, which has the most columns
        first = page.locator(".wide").first
        assert first.evaluate("each => each.scrollWidth - each.clientWidth") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_part_of_a_report_scrolls_sideways_on_a_phone(
    browser: Any, report: Path, scheme: str
) -> None:
    page = opened_page(browser, report, width=360, color_scheme=scheme)
    page.locator("details").evaluate_all("found => found.forEach(each => { each.open = true })")
    scrolling = page.locator(".wide").evaluate_all(
        "found => found.filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
    )
    assert scrolling == []
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *')]"  # what the plots draw is cut off at their edge
        ".filter(e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML)"
    )
    assert beyond == []
    table = page.get_by_role("region", name="All measurements")
    names = table.locator("tr.chosen td").evaluate_all("found => found.map(e => e.dataset.name)")
    assert {"runtime", "size", "accuracy", "median"} <= set(names)


@pytest.mark.parametrize("kind", ["report", "evaluation"])
def test_a_page_can_be_read_without_javascript(
    browser: Any, request: pytest.FixtureRequest, kind: str
) -> None:
    page = opened_page(browser, request.getfixturevalue(kind), java_script_enabled=False)
    assert page.locator(".verdict").first.is_visible()
    assert page.get_by_role("navigation", name="Contents").is_visible()
    assert page.locator("table").first.is_visible()
    assert page.get_by_role("button").count() == 0


def test_the_data_are_downloaded_as_json_and_csv(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    page = opened_page(browser, report)
    texts = {}
    for kind in ("JSON", "CSV"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Download {kind}").click()
        waiting.value.save_as(tmp_path / kind)
        texts[kind] = (tmp_path / kind).read_text()
    cells = json.loads(texts["JSON"])["cells"]
    rows = list(csv.DictReader(texts["CSV"].splitlines()))
    assert [row["artifact"] for row in rows] == [each["artifact"] for each in cells]
    assert [float(row["latency_median_us"] or 0) for row in rows] == [
        each.get("latency_median_us", 0) for each in cells
    ]
    assert json.loads(rows[0]["profile_operators"] or "[]") == cells[0].get("profile_operators", [])
