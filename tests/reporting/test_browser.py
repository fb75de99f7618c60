"""The pages in a real browser, if there is one: they work from a file and fetch nothing."""

import pytest
from rich.console import Console

from lt_det.reporting import write_comparison, write_report
from lt_det.reporting.bakeoff import write_bakeoff_page
from tests.helpers.bakeoffs import TWO, bakeoff, full
from tests.helpers.browser import opened_browser
from tests.helpers.evaluations import AWKWARD, evaluation, write_run

# Texts that the border of a chart cuts off, and pairs of texts that overlap.
MISPLACED = """() => {
  const cut = [], overlaps = [];
  for (const chart of document.querySelectorAll("svg.chart")) {
    const frame = chart.getBoundingClientRect();
    const boxes = [...chart.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([words, box], index) => {
      const within = box.left >= frame.left - 1 && box.right <= frame.right + 1
        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
      if (!within) cut.push(words);
      for (const [other, at] of boxes.slice(index + 1)) {
        const apart = box.left >= at.right - 1 || at.left >= box.right - 1
          || box.top >= at.bottom - 4 || at.top >= box.bottom - 4;
        if (!apart) overlaps.push([words, other]);
      }
    });
  }
  return [cut, overlaps];
}"""


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    quiet, run = Console(quiet=True), write_run(root / "softmax", evaluation())
    other = write_run(root / "seesaw", evaluation(seed=1, better=2.0))
    return {
        "report": write_report(run, quiet).parent / "report.html",
        "compare": write_comparison([run, other], root / "compare", quiet),
        "bakeoff": write_bakeoff_page(bakeoff(), root / "bakeoff"),
        "long bakeoff": write_bakeoff_page(bakeoff(division=TWO, specs=full()), root / "long"),
    }


@pytest.fixture(params=["report", "compare"])
def page(request, browser, pages):
    """An open page; afterwards there must be no console message and no request."""
    messages, requests = [], []
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda sent: requests.append(sent.url))
    address = pages[request.param].as_uri()
    opened.goto(address)
    yield opened
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    context.close()


def column(page, name):
    """The texts of the visible cells below a heading."""
    headings = [heading.strip() for heading in page.locator(".sortable th").all_inner_texts()]
    index = next(k for k, heading in enumerate(headings) if heading.startswith(name))
    rows = page.locator(".sortable tbody tr:visible")
    return rows.locator(f"td:nth-child({index + 1})").all_inner_texts()


def test_sorting(page):
    heading = page.locator(".sortable th", has_text="training images")
    before = column(page, "class")
    heading.locator("button").click()
    images = [int(words) for words in column(page, "training images")]
    assert images == sorted(images, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")
    images = [int(words) for words in column(page, "training images")]
    assert images == sorted(images)
    assert sorted(column(page, "class")) == sorted(before)
    page.locator(".sortable th", has_text="bucket").locator("button").click()
    assert list(dict.fromkeys(column(page, "bucket"))) in (
        ["rare", "common", "frequent"],
        ["frequent", "common", "rare"],
    )


def test_sorting_by_ids_that_are_words(browser, tmp_path):
    content = evaluation()
    for k, entry in enumerate(content["classes"]):
        entry["id"] = f"n{k * 37 % 62:04d}"
    opened = browser.new_page()
    opened.goto((write_report(write_run(tmp_path, content), Console(quiet=True)).parent / "report.html").as_uri())
    opened.locator(".sortable th", has_text="id").first.locator("button").click()
    ids = column(opened, "id")
    assert ids == sorted(ids, reverse=True)
    opened.close()


def test_filtering(page):
    page.get_by_label("Class", exact=True).fill("CLASS_1")
    assert all("class_1" in name for name in column(page, "class"))
    assert page.locator("output").inner_text() == "11 of 62 classes"
    page.locator(".filter select").select_option("common")
    assert set(column(page, "bucket")) == {"common"}
    page.get_by_label("Class", exact=True).fill("<B>")
    page.locator(".filter select").select_option("")
    assert column(page, "class") == [AWKWARD]
    page.get_by_label("Class", exact=True).fill("nowhere")
    assert page.locator("output").inner_text() == "0 of 62 classes"


def test_keyboard_and_pointer_name_a_class(page):
    label = page.locator("#label")
    assert not label.is_visible()
    page.locator(".scatter .point").first.focus()
    first = label.inner_text()
    assert AWKWARD in first  # the rarest class
    page.keyboard.press("ArrowRight")
    second = label.inner_text()
    assert second != first
    page.keyboard.press("End")
    assert "frequent" in label.inner_text()
    page.keyboard.press("Home")
    assert label.inner_text() == first
    page.keyboard.press("Tab")
    assert not label.is_visible()  # the chart is one tab stop
    page.locator(".scatter .point").nth(30).hover(force=True)
    assert label.is_visible()
    assert "training images" in label.inner_text()


@pytest.mark.parametrize("page", ["report", "compare", "bakeoff", "long bakeoff"], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_texts_are_complete_and_do_not_overlap(page, scheme, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut, overlaps = page.evaluate(MISPLACED)
    assert cut == []
    assert overlaps == []


@pytest.mark.parametrize("page", ["bakeoff"], indirect=True)
def test_candidates_are_named_and_their_classes_unfold(page):
    label = page.locator("#label")
    page.locator("#bakeoff-plane .point").nth(2).hover(force=True)
    assert "seesaw: AP" in label.inner_text()
    page.locator("details").first.scroll_into_view_if_needed()
    hidden = page.locator("details table").first
    assert not hidden.is_visible()
    page.locator("summary").first.click()
    assert hidden.is_visible()


@pytest.mark.parametrize("page", ["report", "compare", "bakeoff"], indirect=True)
def test_print(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".filter").first.is_visible()
