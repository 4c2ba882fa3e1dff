"""The search page: words, photos that are liked, what is no question; and in a real browser."""

import io
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
import torch
from PIL import Image

from cmlib.delivery.photo_search import PhotoSearch, SearchPage

WORDS = ("red", "blue", "car", "duck")
PHOTOS = torch.tensor([[1.0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1], [1, 0, 1, 1]])
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def read(texts):
    """One number a word: is it in the text?"""
    return torch.tensor([[float(word in text.split()) for word in WORDS] for text in texts]) + 1e-6


def searching():
    return PhotoSearch(PHOTOS, read, {*WORDS, "a"})


@pytest.fixture
def page():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 8, 8) * 50
    page = SearchPage(searching(), images)
    yield page
    page.close()


def asked(page, path):
    """(status, type, content), as a browser gets it."""
    try:
        with OPENER.open(page.address + path, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def test_words_find_photos_and_photos_find_photos():
    search = searching()
    assert search("A red CAR", k=1)["rows"] == [0]
    assert search("blue duck.", k=1)["rows"] == [3]
    assert search("", [0], k=1)["rows"] == [4]  # like the red car, which is not shown again
    assert search("duck", [0], k=1)["rows"] == [4]
    assert search("blue", [0], k=1)["rows"] == [1]  # the same, but blue
    scores = search("red")["scores"]
    assert scores == sorted(scores, reverse=True) and len(scores) == 5
    assert len(search("red", [1, 2], k=12)["rows"]) == 3
    assert search("a red duck")["warning"] == ""


@pytest.mark.parametrize("words", ["ein rotes auto", "红色的汽车", "une voiture rouge", "rot rot"])
def test_a_query_in_another_language_is_answered_with_a_warning(words):
    found = searching()(words, k=2)
    assert len(found["rows"]) == 2
    assert found["warning"].startswith(f"The towers have never read {words.split()[0]}")
    assert "in another language" in found["warning"] and "\n" not in found["warning"]


@pytest.mark.parametrize("words, liked, says", [
    ("", [], "The query is empty: write some words, or choose a photo"),
    (" . !", [], "The query is empty"),
    ("x" * 301, [], "The query has 301 letters, and 300 are read"),
    ("red", [5], "There is no photo 5: the gallery has photos 0 to 4."),
    ("red", [-1], "There is no photo -1"),
])
def test_what_is_no_question_is_refused_in_one_sentence(words, liked, says):
    with pytest.raises(ValueError) as raised:
        searching()(words, liked)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_no_photos_cannot_be_asked_for():
    with pytest.raises(ValueError, match="k=0 photos cannot be shown: 1 or more"):
        searching()("red", k=0)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_gallery_of_one_is_refused(rows):
    with pytest.raises(ValueError, match=f"In a gallery of {rows} every query finds the same photo"):
        PhotoSearch(PHOTOS[:rows], read, WORDS)


def test_an_image_for_every_photo():
    with pytest.raises(ValueError, match="3 images of a gallery of 5 photos"):
        SearchPage(searching(), torch.zeros(3, 3, 8, 8, dtype=torch.uint8))


def test_the_page_answers(page):
    status, kind, content = asked(page, "")
    assert status == 200 and kind.startswith("text/html") and b"<form>" in content
    status, kind, content = asked(page, "photo/3.png")
    assert (status, kind) == (200, "image/png")
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (150, 150, 150)
    status, _, content = asked(page, "search?words=a%20red%20car&liked=")
    assert status == 200 and json.loads(content)["rows"][0] == 0
    status, _, content = asked(page, "search?words=&liked=0,1")
    assert status == 200 and set(json.loads(content)["rows"]) == {2, 3, 4}
    for query in ("", "words=red&liked=7", "words=red&liked=0,", "words=red&liked=a", "liked=99999999999"):
        status, _, content = asked(page, f"search?{query}")
        assert status == 400 and list(json.loads(content)) == ["error"]
    for path in ("photo/5.png", "photo/0.jpg", "../etc/passwd", "photo/../photo/0.png", "favicon.ico"):
        assert asked(page, path)[0] == 404


def test_after_close_nobody_answers():
    page = SearchPage(searching(), torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
    page.close()
    with pytest.raises(urllib.error.URLError):
        OPENER.open(page.address, timeout=5)


def test_in_a_real_browser(page, chromium):
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        tab, errors = browser.new_page(), []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.address)

        def shown(count, words=None):
            """The photos on the page, once there are so many and all are loaded."""
            if words is not None:
                tab.fill("#words", words)
                tab.click("button")
            tab.wait_for_function(
                f"document.querySelectorAll('#hits img').length == {count} && "
                "[...document.images].every(photo => photo.complete && photo.naturalWidth == 8)")
            return [photo.get_attribute("alt") for photo in tab.locator("#hits img").all()]

        assert shown(5, "a red car")[0] == "photo 0"
        assert tab.inner_text("#said") == "5 photos" and tab.inner_text("#warning") == ""
        shown(5, "<b>ein</b> auto")
        tab.wait_for_function("document.getElementById('warning').textContent != ''")
        assert "b, ein, auto" in tab.inner_text("#warning")  # as words, never as a part of the page
        tab.fill("#words", "   ")
        tab.press("#words", "Enter")
        tab.wait_for_function("document.getElementById('said').textContent.includes('empty')")
        assert tab.locator("#hits img").count() == 0
        shown(5, "blue")
        tab.locator("#hits img[alt='photo 0']").click()  # like the red car, but blue
        tab.wait_for_selector("#hits img.liked")
        assert shown(5)[:2] == ["photo 0", "photo 1"]
        tab.locator("#hits img.liked").click()
        tab.wait_for_function("!document.querySelector('#hits img.liked')")
        assert not errors
        browser.close()
