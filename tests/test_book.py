"""The book of two lessons, as `make book` builds it: no warning, no broken link, nothing from outside."""

import contextlib
import functools
import html as entities
import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urlsplit

import pytest
from babel.messages import Catalog
from conftest import ROOT, need

from book import build, lessons, sliders, translation
from book import pages as book_pages
from book.reference import as_rst
from cmlib.authoring import notebooks
from cmlib.check import quiz

NEEDED = {"sphinx": "sphinx", "myst_nb": "myst-nb", "sphinx_book_theme": "sphinx-book-theme",
          "sphinx-mathjax-offline": "sphinx-mathjax-offline", "sphinx_revealjs": "sphinx-revealjs"}
NUMBERS = ("02", "06")
CHOSEN = [source for source in notebooks.sources() if source.name[:2] in NUMBERS]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


class Page(HTMLParser):
    """The tags of a page that matter here."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.addresses, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(found["id"])
        if tag == "img":
            self.pictures.append(found)
        name = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if found.get(name or ""):
            self.addresses.append(found[name])


def need_the_extra():
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    need(f"{', '.join(missing)} (make install, or pip install -e '.[book]')", not missing)


@pytest.fixture
def slides():
    need_the_extra()
    from book import slides

    return slides


def build_in(out):
    command = [sys.executable, "-m", "book.build", *NUMBERS, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SOLUTIONS": "1"}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """The folder of the built book."""
    need_the_extra()
    out = tmp_path_factory.mktemp("book") / "html"
    build_in(out)
    return out


@pytest.fixture(scope="session")
def pages(html):
    """Path below the folder → what stands on that page."""
    return {file.relative_to(html).as_posix(): Page(file.read_text("utf-8")) for file in html.rglob("*.html")
            if "_static" not in file.parts}


def test_every_address_leads_somewhere(html, pages):
    broken = []
    for name, page in pages.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (html / name).parent.joinpath(unquote(parts.path)) if parts.path else html / name
            inside = target.resolve().relative_to(html.resolve()).as_posix() if target.exists() else None
            anchors = pages[inside].anchors if inside in pages else {parts.fragment}
            if inside is None or unquote(parts.fragment) not in {*anchors, ""}:
                broken.append(f"{name}: {address}")
    assert not broken, broken


def test_nothing_is_fetched_from_outside_and_every_picture_says_what_it_shows(html, pages):
    for name, page in pages.items():
        if name in ("search.html", "genindex.html"):
            continue
        assert all(len(picture.get("alt") or "") >= 20 for picture in page.pictures), (name, page.pictures)
    for source in CHOSEN:
        stored = json.loads(notebooks.built(source).read_text("utf-8"))
        count = sum("image/png" in output.get("data", {}) for cell in stored["cells"]
                    for output in cell.get("outputs", []))
        assert len(pages[f"notebooks/{source.stem}.html"].pictures) >= count > 0
    loaded = [text for file in html.rglob("*.html")
              for text in re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"',
                                     file.read_text("utf-8"))]
    assert not loaded


def test_cards_and_folds(html):
    for source in CHOSEN:
        text = (html / "notebooks" / f"{source.stem}.html").read_text("utf-8")
        asked = quiz.of_lesson(source.name[:2])
        boxes = [set(names.split()) for names in re.findall(r'<(?:div|details) class="([^"]*)"', text)]
        counted = {kind: sum({kind, "admonition"} <= names for names in boxes)
                   for kind in ("exercise", "solution", "quiz", "option")}
        assert counted == {"exercise": 5, "solution": 5, "quiz": len(asked),
                           "option": sum(len(question.options) for question in asked)}
        assert "slider: run this cell" not in text and "cmlib.quiz(" not in text and "%|" not in text


def test_without_solutions_none_is_shown():
    for source in CHOSEN:
        with_them, without = (json.dumps(lessons.page(source, CHOSEN, solutions=some))
                              for some in (True, False))
        assert with_them.count("One solution") == 5 and "One solution" not in without
        assert without.count("Hint 3") == 5


def test_links_to_lessons_outside_the_book_are_words():
    assert lessons.linked("[a](02_joint_loss.ipynb), [b](05_seeing.ipynb)", CHOSEN[:1]) == (
        "[a](02_joint_loss.ipynb), b")
    badge = "[![Open in Colab](https://elsewhere.org/badge.svg)](https://elsewhere.org)"
    assert lessons.linked(badge, CHOSEN) == "[Open in Colab](https://elsewhere.org)"
    assert lessons._without("← 01 · 03 →", "# 02\n\n[Open in Colab](x) · ← 01 · 03 →\n") == (
        "# 02\n\n[Open in Colab](x)\n")


def test_a_lesson_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="There is no built lesson 77; there are 00, 01, 02"):
        build.stage(tmp_path, ["77"])


def test_staging_again_changes_only_what_is_new(tmp_path):
    build.stage(tmp_path, NUMBERS)
    (tmp_path / "old.md").write_text("of an earlier book")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")}
    build.stage(tmp_path, NUMBERS[:1])
    after = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")}
    gone = {file.name for file in set(before) - set(after)}
    assert gone == {"old.md", f"{CHOSEN[1].stem}.ipynb"}
    picture = tmp_path / "docs" / "contact_sheet.png"
    assert after[picture] == before[picture]


def test_building_again_takes_the_frames_of_today(html):
    frame = next((html / "_static" / "frames").rglob("*.webp"))
    today = frame.read_bytes()
    frame.write_bytes(b"of an earlier slider")
    build_in(html)
    assert frame.read_bytes() == today


def test_the_glossary_has_every_lesson_and_both_languages():
    found = {source.name[:2]: book_pages.terms(source) for source in notebooks.sources()}
    few = [number for number, terms in found.items() if len(terms) < 8]
    assert not few, f"the glossary in the recap of {few} is not read: see terms in {book_pages.__name__}"
    used = {term for terms in found.values() for term, _ in terms}
    chinese = set(tomllib.loads((ROOT / "book" / "glossary.zh.toml").read_text("utf-8")))
    assert used == chinese, (f"book/glossary.zh.toml: without a Chinese name {sorted(used - chinese)}, in no "
                             f"recap {sorted(chinese - used)}")


def pieces(message):
    """What both languages of a message have in common: code, formulas, addresses, emphasis and numbers."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    block, inline, *_ = MarkdownIt().use(dollarmath_plugin).parse(message)
    assert block.type == "paragraph_open", f"Sphinx takes no list or heading here, write 1\\. : {message}"
    found = Counter()
    for token in inline.children:
        if token.type in ("code_inline", "math_inline"):
            found[token.content] += 1
        if token.type in ("em_open", "strong_open", "link_open", "image"):
            found[token.attrGet("href") or token.attrGet("src") or "emphasis"] += 1
    return found + Counter(translation.NUMBER.findall(message))


def chinese_catalogs():
    locale = translation.SETTINGS["zh"]["language"]
    return {name: translation._read(translation.folder("zh") / f"{name}.po", locale)
            for name in translation.translated("zh")}


def test_the_chinese_pages_say_what_the_english_ones_say():
    chinese = tomllib.loads((ROOT / "book" / "glossary.zh.toml").read_text("utf-8"))
    opening = book_pages.terms(notebooks.sources()[0])
    names = {term: [part for part in re.split("[（）]", chinese[term]) if part] for term, _ in opening}
    catalogs = chinese_catalogs()
    assert set(catalogs) >= {"index", "notebooks/00_start_here"} and len(names) == 9
    for page, catalog in catalogs.items():
        for message in filter(lambda one: one.id and one.string and not one.fuzzy, catalog):
            says = message.string
            english = re.sub(r"^(\d+)\. ", r"\1\\. ", message.id)
            assert pieces(english) == pieces(says), (page, message.id, says)
            plain = re.sub(r"[`$][^`$]*[`$]", "", message.id).lower()
            for term, either in names.items():
                if re.search(rf"\b{term}s?\b", plain):
                    assert any(name in says for name in either), f"{page}: {term} is {either} in {says}"
            assert not re.search("[\u4e00-\u9fff][,;:?!]|[*`]{3}", says), f"{page}: punctuation of {says}"


@pytest.mark.filterwarnings("ignore:'myst_parser")
def test_lesson_00_is_translated_as_it_is_today():
    need_the_extra()
    page = "notebooks/00_start_here"
    catalog = translation.updated(chinese_catalogs()[page], translation.messages([page])[page])
    assert len(catalog) > 150
    waiting = translation.waiting(catalog)
    assert not waiting, f"{page}.po: make book LANGUAGE=zh, then translate what it marks: {waiting}"


def test_a_translation_goes_on_only_where_its_meaning_is_the_same():
    old, new = Catalog("zh_CN"), Catalog()
    for english, says in {"It takes 7 s and 2 GB.": "需要 2 GB 和 7 s。", "14 Less is more": "14 少即是多",
                          "15 Beyond": "15 之外", "Two of 3 and 3.": "3 和 3 中的两个。",
                          "The same words.": "同样的话。",
                          "The head is very small.": "头部很小。"}.items():
        old.add(english, says)
    for english in ("It takes 9 s and 1.5 GB.", "Two of 3 and 4.", "[14 Less is more](14_less.ipynb)",
                    "[15 Beyond](notebooks/15_beyond.ipynb)",
                    "The same words.", "The head is very large."):
        new.add(english)
    catalog = translation.updated(old, new)
    kept = {message.id: message.string for message in catalog if message.id and not message.fuzzy}
    assert kept["It takes 9 s and 1.5 GB."] == "需要 1.5 GB 和 9 s。"
    assert kept["The same words."] == "同样的话。"
    assert kept["[14 Less is more](14_less.ipynb)"] == "[14 少即是多](14_less.ipynb)"
    assert kept["[15 Beyond](notebooks/15_beyond.ipynb)"] == "[15 之外](notebooks/15_beyond.ipynb)"
    assert translation.waiting(catalog) == ["Two of 3 and 4.", "The head is very large."]


def test_the_page_on_your_own_data_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "book" / "own_data.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    shorter = block.replace("sample(900)", "sample(150)").replace("epochs=3", "epochs=1")
    assert shorter.count("sample(150)") == shorter.count("epochs=1") == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(shorter, "own_data.md", "exec"), {"__name__": "page"})  # noqa: S102, our own page
    assert re.search(r"^(keep|refund) True$", capsys.readouterr().out, re.MULTILINE)


def test_docstrings_become_tables_and_prose():
    lines = ["pixels : uint8 (n, 3), the", "picture", "rows, *more : of `x`s", "    and |y|", "Raises a_b.",
             "", "    code = *here", "    more", "", "Last: words", "go on."]
    assert "\n".join(as_rst(lines)) == r"""
.. list-table::
   :widths: 25 75

   * - ``pixels``
     - uint8 (n, 3), the picture
   * - ``rows, *more``
     - of \ ``x``\ s and \|y\|

Raises a\_b.

::

    code = *here
    more

Last: words go on.
"""


def test_frames_of_a_slider(tmp_path, capsys):
    for low, high, step, start in ((0.0, 1.0, 0.02, 0.3), (-2.0, 2.0, 0.25, 1.0), (3, 12, 1, 6)):
        values, first = sliders._values((low, high, step, start))
        assert values[first] == start and 3 < len(values) <= sliders.MOST and low <= min(values)
        assert max(values) <= high and values == sorted(values)
    assert sliders._values(["b", "a"]) == (["b", "a"], 0)

    from cmlib import plots

    def draw(size, kind):
        fig, ax = plots.figure(width=2, height=1)
        ax.plot([0, size])
        return fig

    controls = {"size": (1.0, 3.0, 1.0, 2.0), "kind": ["x", "y"]}
    count = sliders._keep(tmp_path / "09-0", draw, 'A "line"', controls)
    assert count == 5 and (tmp_path / "09-0" / "size-2.webp").stat().st_size < 10_000
    shown = sliders.shown("09", 0, tmp_path)
    assert shown.count('type="range"') == 2 and "09-0/size-1.webp" in shown and "A &quot;line&quot;" in shown
    assert sliders.shown("09", 1, tmp_path) is None


def test_every_slider_of_a_lesson_has_frames():
    """`python -m book.sliders NN` renders them anew where a lesson's explore has changed."""
    for source in notebooks.sources():
        text = source.read_text("utf-8")
        kept = sorted(sliders.FOLDER.glob(f"{source.name[:2]}-*"))
        assert len(kept) == text.count("plots.explore("), f"{source.stem}: python -m book.sliders"
        for folder in kept:
            told = json.loads((folder / "controls.json").read_text("utf-8"))
            names = [control["name"] for control in told["controls"]]
            assert all(re.search(rf"\b{name}=[(\[\w]", text) for name in names), (source.stem, names)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address at which the files of a folder are read."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_in_a_real_browser(html, chromium):
    """Three pages, light, dark and on a telephone: formulas are set, a slider moves, nothing from outside."""
    from playwright.sync_api import sync_playwright

    with served(html) as here, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        asked, errors = [], []
        looks = [("notebooks/02_joint_loss.html", 1280, "light", 50),
                 ("notebooks/06_concatenation.html", 390, "dark", 50), ("glossary.html", 820, "dark", 0)]
        for name, width, scheme, formulas in looks:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(here + name)
            page.wait_for_function(f"document.querySelectorAll('mjx-container').length >= {formulas}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.querySelectorAll('mjx-merror').length") == 0
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            slider = page.locator("figure.frames input").first
            if slider.count():
                picture = page.locator("figure.frames img").first
                before = picture.get_attribute("src")
                slider.press("ArrowRight")
                assert picture.get_attribute("src") != before
                page.wait_for_function("image => image.complete && image.naturalWidth > 0",
                                       arg=picture.element_handle())
            page.close()
        browser.close()
    outside = [address for address in asked if not address.startswith((here, "data:", "blob:"))]
    assert not outside and not errors, (outside, errors)
    assert any("mathjax" in address for address in asked)


def test_the_chinese_book_is_searched_in_chinese(tmp_path, chromium):
    """A page is found by one character, by a word, by a part of a term, and by an English word."""
    need_the_extra()
    from playwright.sync_api import sync_playwright

    out = tmp_path / "zh"
    assert build.built(out, ("00",), language="zh") == 0
    lesson = "notebooks/00_start_here.html"
    with served(out) as here, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page()
        asked = {"车": True, "玩具": True, "未拆封的包裹": True, "BERT": True, "包玩": False}
        for words, found in asked.items():
            page.goto(f"{here}search.html?q={quote(words)}")
            page.wait_for_function("document.querySelector('#search-results h2')?.nextElementSibling")
            page.wait_for_function("document.querySelector('.search-summary')?.innerText.length > 5")
            links = page.locator("#search-results li a").evaluate_all("all => all.map(one => one.pathname)")
            assert any(lesson in link for link in links) == found, (words, links)
        browser.close()


def test_a_deck_has_every_section_and_figure_and_asks_nothing_of_the_network(slides, tmp_path, capsys):
    assert slides.main([*NUMBERS, "--out", str(tmp_path)]) == 0
    for source in CHOSEN:
        text = (tmp_path / f"{source.name[:2]}.html").read_text("utf-8")
        cells = json.loads(notebooks.built(source).read_text("utf-8"))["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
        assert [entities.unescape(one) for one in re.findall("<h2>(.+?)</h2>", text)] == headings
        outputs = [one for cell in cells for one in cell.get("outputs", [])]
        stored = [one for one in outputs if "image/png" in one.get("data", {})]
        assert len(stored) == len(re.findall(r'<img alt="[^"]{20,}" src="data:image/png;base64,', text)) > 0
        assert "One solution" not in text and "Hint 1" not in text
        files = re.findall(r'(?:<link[^>]*href|src)="(?!data:)([^"]+)"', text)
        assert len(files) == 5 and all((tmp_path / file).is_file() for file in files)
    styles = "\n".join(file.read_text("utf-8") for file in tmp_path.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles) and (tmp_path / "revealjs" / "LICENSE").is_file()
    with pytest.raises(SystemExit):
        slides.main(["77"])
    assert "There is no built lesson 77" in capsys.readouterr().err


def test_what_of_a_lesson_stands_on_slides(slides):
    text = "Prose.\n\n**Step 1.** One:\n\n$$a = b$$\n\n| table |\n\nWhere so\n\n$$c$$\n\nNo more."
    assert slides.steps(text) == ["**Step 1.** One:\n\n$$a = b$$", "Where so\n\n$$c$$"]
    long = "**Step 2.** " + "x" * slides.LONGEST
    assert slides.steps(f"{long}\n\n$$d$$\n\n**Step 3.** y") == [f"{long}\n\n$$d$$", "**Step 3.** y"]
    assert slides._html("$p < 1$") == "<p><span class=\"math inline\">\\(p &lt; 1\\)</span></p>\n"
