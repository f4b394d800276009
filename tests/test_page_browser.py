import cv2
import numpy as np
import pytest
from browsers import browser, until, watched
from stores import Face, File, fill

from maskbatch.reports.page.view import PAGE_SIZE
from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.write import add_results
from maskbatch.types import SegmentResult

NUM_PEOPLE = 2 * PAGE_SIZE + 5
LONG_NAME = "cellar/2026-11-20_morning/entrance_of_the_north.jpg"


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests of this file."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of NUM_PEOPLE bare people in photos, each with a picture, and a file that failed; its address."""
    out = tmp_path_factory.mktemp("out")
    names = [LONG_NAME, *(f"door <{number}>.jpg" for number in range(NUM_PEOPLE - 1))]
    with open_store(out) as store:
        files = [*map(File, names), File("x" * 120 + ".jpg", error="no JPEG", decoded=0, analysed=0)]
        fill(store, files, [Face(name, p_mask=0.01) for name in names])
        with store.transaction() as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM source ORDER BY id")]
        add_results(store, [SegmentResult(evidence=tuple((one, 0, 0) for one in ids[:-1]))])
        (out / "evidence" / LONG_NAME).parent.mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(out / f"evidence/{name}_f000000_0.jpg"), np.full((60, 40, 3), 90, np.uint8))
        write_reports(store, ReportSettings())
    return (out / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1920])
def test_the_page_opens_quietly_at_any_width(chromium, report, width, scheme):
    """No message, no request but to the disk, nothing wider than the window; a picture that is in sight is shown."""
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, addresses = watched(page)
    page.goto(report)
    page.locator("ol.page img").first.scroll_into_view_if_needed()
    until(page, "document.querySelector('ol.page img').naturalWidth > 0")
    assert complaints == []
    assert all(address.startswith("file:") for address in addresses)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_tables_break_between_words(chromium, report, width):
    """No word of the rates and of the model's errors is broken, and no status, however narrow the window."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(report)
    assert page.evaluate(BROKEN_WORDS, "table:not(.files) :is(th, td), table.files :is(td.short, thead th)") == []
    page.close()


def test_names_of_files_break_after_slashes_first(chromium, report):
    """A card shows a name that is too long for its line with its folder on one line and its file on the next."""
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.goto(report)
    name = page.locator("p.source").filter(has_text="cellar/").first
    assert name.inner_text() == LONG_NAME
    breaks = name.evaluate("(element) => element.querySelectorAll('wbr').length")
    assert breaks == LONG_NAME.count("/") + LONG_NAME.count("_")
    page.close()


def test_lists_turn_their_pages_by_keyboard(chromium, report):
    """Enter on Next shows the next people; only pictures near the window are loaded; the last part has no next."""
    page = chromium.new_page()
    _, addresses = watched(page)
    page.goto(report)
    assert sum(address.endswith(".jpg") for address in addresses) < NUM_PEOPLE
    status = page.locator(".pager [role=status]")
    assert status.inner_text() == f"1 to {PAGE_SIZE} of {NUM_PEOPLE}"
    page.locator(".pager .next").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert status.inner_text() == f"{2 * PAGE_SIZE + 1} to {NUM_PEOPLE} of {NUM_PEOPLE}"
    assert page.locator(".pager .next").is_disabled()
    assert page.locator("ol.page").count() == 1 and page.locator("ol.page li").count() == 5
    page.close()


def test_the_first_tab_leads_past_the_navigation(chromium, report):
    """Whoever uses a keyboard jumps to the answer at once."""
    page = chromium.new_page()
    page.goto(report)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.close()


def test_texts_have_enough_contrast(chromium, report):
    """Each visible text has a contrast of 4.5 to 1 or more with its ground, light and dark (WCAG AA)."""
    for scheme in ("light", "dark"):
        page = chromium.new_page(color_scheme=scheme)
        page.goto(report)
        worst = page.evaluate(CONTRAST)
        assert worst[0] >= 4.5, worst
        page.close()


def test_the_page_prints(chromium, report):
    """The printed page has the answer and the people shown, and no buttons."""
    page = chromium.new_page()
    page.goto(report)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator(".pager").is_visible() and page.locator(".headline").is_visible()
    page.close()


def test_without_scripts_all_people_are_shown(chromium, report):
    """Where scripts are off, no person is hidden."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator("li.person").nth(NUM_PEOPLE - 1).is_visible()
    context.close()


BROKEN_WORDS = """(selector) => {
  const broken = [];
  for (const cell of document.querySelectorAll(selector)) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, word.index);
        range.setEnd(texts.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((rect) => Math.round(rect.top))).size > 1) broken.push(word[0]);
      }
    }
  }
  return broken;
}"""
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  const texts = "h1,h2,h3,p,a,li,td,th,dt,dd,span,button:not(:disabled),figcaption,code";
  for (const element of document.querySelectorAll(texts)) {
    if (!element.innerText || !element.offsetParent) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, element.tagName + " " + element.innerText.slice(0, 40)];
  }
  return worst;
}"""
