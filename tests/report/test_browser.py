"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from playwright.sync_api import Page as Tab

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PHONE, DESK = {"width": 375, "height": 700}, {"width": 1280, "height": 900}
# What WCAG 2 asks of text at level AA.
CONTRAST = 4.5

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium: apt-get install chromium, as .ci/run does")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Playwright gives each browser that it starts a new user directory.
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


class Visit:
    """A page that was opened, with what it asked for and complained about."""

    def __init__(self, context: BrowserContext, page: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab: Tab = context.new_page()
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(page.as_uri())


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desk"])
def visit(request: pytest.FixtureRequest, browser: Browser, scheme: str, study_page: Path) -> Iterator[Visit]:
    context = browser.new_context(viewport=request.param, color_scheme=scheme, java_script_enabled=True)
    yield Visit(context, study_page)
    context.close()


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(visit: Visit, study_page: Path) -> None:
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [study_page.as_uri()]


def test_only_tables_scroll_sideways(visit: Visit) -> None:
    width = visit.tab.evaluate("document.documentElement.clientWidth")
    assert visit.tab.evaluate("document.documentElement.scrollWidth") == width
    wide = visit.tab.evaluate(
        "[...document.querySelectorAll('h1, h2, p, figure, img, dl, .scroll, pre')]"
        ".filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_text_is_large_enough_and_has_contrast(visit: Visit, scheme: str) -> None:
    seen = visit.tab.evaluate(
        """() => [...document.querySelectorAll('p, li, td, th, caption, dt, dd, code, summary, svg text')]
            .filter(e => e.textContent.trim() && e.getClientRects().length)
            .map(e => {
                const style = getComputedStyle(e), inDrawing = e.closest('svg');
                const scale = inDrawing ? inDrawing.getBoundingClientRect().width / inDrawing.viewBox.baseVal.width : 1;
                let under = e;
                while (under && ['rgba(0, 0, 0, 0)', 'transparent'].includes(getComputedStyle(under).backgroundColor))
                    under = under.parentElement;
                return {size: parseFloat(style.fontSize) * scale, ink: inDrawing ? style.fill : style.color,
                        ground: getComputedStyle(under || document.body).backgroundColor, text: e.textContent.trim()};
            })"""
    )
    assert len(seen) > 200
    for one in seen:
        assert one["size"] >= 10, one
        assert contrast(one["ink"], one["ground"]) >= CONTRAST, one
    ground = luminance(visit.tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.1


def test_a_screen_reader_finds_its_way(visit: Visit) -> None:
    tab = visit.tab
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert tab.get_by_role(role).count() == 1, role
    levels = tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    drawings = tab.get_by_role("img").all()
    assert len(drawings) == 13 + tab.locator("img").count()
    for name in ("The models", "Class by class"):
        assert tab.get_by_role("region", name=name, exact=True).count() == 1
    caption = "Fidelity to the teacher on test images"
    assert tab.get_by_role("table", name=caption).get_by_role("columnheader").count() > 3


def test_the_keyboard_reaches_links_tables_and_details(visit: Visit) -> None:
    tab = visit.tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert tab.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    tab.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details pre").is_visible()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "PRE"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_tables_can_be_saved(visit: Visit, study_page: Path) -> None:
    with visit.tab.expect_download() as caught:
        visit.tab.get_by_role("link", name="models.csv").click()
    assert caught.value.suggested_filename == "models.csv"
    saved = Path(caught.value.path()).read_text(encoding="utf-8")
    assert saved == (study_page.parent / "report/models.csv").read_text(encoding="utf-8")


def contrast(ink: str, ground: str) -> float:
    """The contrast ratio of WCAG 2."""
    dark, light = sorted((luminance(ink), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2 of `rgb(r, g, b)`."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
