"""The book on paper: `make pdf` has Sphinx write it as one page, and Chromium print that page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from book import build

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NUMBER = '<div style="width:100%; text-align:center; font-size:8px" class="pageNumber"></div>'
PAGE = {"format": "A4", "print_background": True, "outline": True, "tagged": True,
        "margin": {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
        "display_header_footer": True, "header_template": "<span></span>", "footer_template": NUMBER}
READY = """async () => {
  await MathJax.startup.promise;
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
}"""


def printed(html: Path, pdf: Path) -> None:
    """Print a page of HTML, when its formulas are set and its pictures are there.

    Raises RuntimeError where no browser is installed.
    """
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise RuntimeError(f"make pdf prints with a browser, and none of {', '.join(BROWSERS)} is installed.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=QUIET)
        page = running.new_page(color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(html.resolve().as_uri())
        page.evaluate(READY)
        page.pdf(path=pdf, **PAGE)
        running.close()


def main(numbers=()) -> int:
    folder = build.BOOK / "_build"
    failed = build.built(folder / "single", numbers, builder="singlehtml")
    if failed:
        return failed
    try:
        printed(folder / "single" / "index.html", folder / "book.pdf")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The book: {folder / 'book.pdf'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
