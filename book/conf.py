"""Sphinx's settings for the book. `make book` stages the pages that it reads; see book/build.py."""

from importlib.util import find_spec
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.util.fileutil import copy_asset

from book.chinese_search import SearchByPairs
from book.reference import as_rst
from cmlib.authoring import address

HERE = Path(__file__).parent

project = "The cross-modal learning course"
author = "The authors of the course"
version = release = address.project(HERE.parent)["version"]
html_title = project
language = "en"
smartquotes = False
locale_dirs = ["book/locale"]  # of the staged pages
gettext_compact = False  # a file for each page

extensions = ["myst_nb", "sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what torch says of forward is not about ours
maximum_signature_line_length = 88
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # stored outputs are what the tests compare; nothing runs here
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("gettext", "image/png", 0)]  # for their alt text

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["book.css"]
html_js_files = ["frames.js"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False,
                      "home_page_in_toc": True, "footer_content_items": [],
                      "search_bar_text": "Search the course"}
ADDRESS = address.published(HERE.parent)
if ADDRESS:  # until then a button would only pretend
    html_theme_options |= {"repository_url": ADDRESS.repository, "use_repository_button": True}

# MathJax comes from a package, so that a reader needs no network.
MATHJAX = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0], "static", "mathjax")
FONTS = "output/chtml/fonts/woff-v2"
mathjax_path = "mathjax/tex-chtml.js"


def copy_shipped(app, failure):
    if failure is None and app.builder.format == "html":
        shipped = Path(app.outdir, "_static", "mathjax")
        copy_asset(MATHJAX / "tex-chtml.js", shipped)
        copy_asset(MATHJAX / FONTS, shipped / FONTS)
        # A slider that was drawn anew takes the place of the frames of the last build.
        copy_asset(HERE / "frames", Path(app.outdir, "_static", "frames"), force=True)


def read_docstring(app, what, name, obj, options, lines):
    lines[:] = as_rst(lines)


def setup(app):
    app.connect("autodoc-process-docstring", read_docstring)
    app.add_search_language(SearchByPairs)
    app.add_lexer("csv", TextLexer)  # Pygments has none
    app.connect("build-finished", copy_shipped)
