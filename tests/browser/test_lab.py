"""A copy of lesson 02 in the JupyterLab of `make lab`, in a real browser: run all, move the slider, answer an
exercise wrong, then right, save.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT, need

from cmlib.course import copies

NAME = "02_joint_loss"
PATIENCE = 180_000  # ms: a busy machine
WRONG = '''import torch.nn.functional as F

def published_total(text_score, image_score, lam):
    return lam * F.softplus(-text_score).mean() + (1 - lam) * F.softplus(-image_score).mean()

check('02.1', published_total)'''
RIGHT = '''import torch.nn.functional as F

def published_total(text_score, image_score, lam):
    return ((1 + lam) * F.softplus(-text_score) + (1 - lam) ** 2 * F.softplus(-image_score)).mean()

check('02.1', published_total)'''
FLAGS = re.search(r"-m jupyterlab (.+) \$\(LAB_FLAGS\)", (ROOT / "Makefile").read_text("utf-8"))[1]
# The notebook model of the open document, and helpers on it.
WIDGET = "window.jupyterapp.shell.currentWidget"
RUN_CELL = f"""async ([id, source]) => {{
  const notebook = {WIDGET}.content;
  const index = notebook.widgets.findIndex(cell => cell.model.id === id);
  notebook.activeCellIndex = index;
  notebook.widgets[index].model.sharedModel.setSource(source);
  await window.jupyterapp.commands.execute('notebook:run-cell');
  const outputs = notebook.widgets[index].model.sharedModel.toJSON().outputs;
  return outputs.map(o => [o.text || ''].flat().join('')).join('');
}}"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab as `make lab` starts it, with fresh settings, on a copy; yields (folder, address)."""
    base = tmp_path_factory.mktemp("lab")
    source = ROOT / "notebooks" / f"{NAME}.ipynb"
    need(f"the built lesson {NAME}", source.exists())
    for folder in ("cmlib", "data", "deploy"):  # the first cell looks for the course above the notebook
        (base / folder).symlink_to(ROOT / folder)
    (base / "notebooks").mkdir()
    shutil.copy(source, base / "notebooks")
    shutil.copy(ROOT / "README.md", base)
    copies.copy(base / "notebooks", base / "work")
    port, token = free_port(), "t" * 20
    folders = {
        name: str(base / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    }
    environment = (
        os.environ
        | folders
        | {
            "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
            "OMP_NUM_THREADS": "1",
            "CMLIB_HOME": str(base / "home"),
            "CMLIB_SCALE": "small",
        }
    )
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--ServerApp.allow_root=True",
        *shlex.split(FLAGS.replace("$(CURDIR)", str(base))),
        "--expose-app-in-browser",
    ]
    with open(base / "server.log", "w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (base / "server.log").read_text()[-2000:]
                time.sleep(0.5)
        yield base, f"http://127.0.0.1:{port}/lab/tree/work/{NAME}.ipynb?token={token}&reset"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def page(server, chromium):
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.errors, page.outside = [], []
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda r: page.outside.append(r.url)
                if "//127.0.0.1" not in r.url and not r.url.startswith(("data:", "blob:")) else None)
        page.goto(server[1])
        page.wait_for_function(f"() => window.jupyterapp && {WIDGET} && {WIDGET}.content && "
                               f"{WIDGET}.content.model")
        page.evaluate(f"async () => {{ await {WIDGET}.context.ready; await {WIDGET}.sessionContext.ready; }}")
        yield page
        browser.close()


def shot(page, server, name):
    """A screenshot for a person to look at (kept where CML_SHOTS says)."""
    folder = os.environ.get("CML_SHOTS") or server[0]
    os.makedirs(folder, exist_ok=True)
    page.screenshot(path=f"{folder}/{name}.png")


def cell_id(kind) -> str:
    notebook = json.loads((ROOT / "notebooks" / f"{NAME}.ipynb").read_text("utf-8"))
    return next(
        c["id"] for c in notebook["cells"] if c["cell_type"] == "code" and kind in "".join(c["source"])
    )


def changed_after_saving(page, server):
    """What the copy says that the learner has changed, once JupyterLab has saved it."""
    page.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")
    saved = json.loads((server[0] / "work" / f"{NAME}.ipynb").read_text("utf-8"))
    return copies.changes(saved, saved["metadata"]["cmlib"]["handed_out"])


def show_cell(page, id):
    page.evaluate(f"""async id => {{
      const notebook = {WIDGET}.content;
      const index = notebook.widgets.findIndex(cell => cell.model.id === id);
      notebook.activeCellIndex = index;
      await notebook.scrollToItem(index, 'start');
    }}""", id)


def test_1_the_stored_page_shows_pictures_with_alt_text(page, server):
    shot(page, server, "1-opened")
    assert page.evaluate(f"() => {WIDGET}.content.widgets.length") > 15
    readme = page.evaluate("""async () =>
      (await window.jupyterapp.serviceManager.contents.get('README.md')).content""")
    assert readme.startswith("# ")


def test_2_everything_runs(page, server):
    ok = page.evaluate("async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')")
    failed = page.evaluate(f"""() => {WIDGET}.content.widgets.filter(cell => cell.model.type === 'code')
      .flatMap(cell => cell.model.sharedModel.toJSON().outputs)
      .filter(output => output.output_type === 'error')
      .map(output => output.ename + ': ' + output.evalue)""")
    assert ok is not False, failed
    counts = page.evaluate(f"""() => {WIDGET}.content.widgets.filter(cell => cell.model.type === 'code')
      .map(cell => cell.model.sharedModel)
      .map(cell => [cell.execution_count, cell.toJSON().outputs.map(output => output.output_type)])""")
    assert [count for count, _ in counts] == list(range(1, len(counts) + 1))
    assert not any("error" in kinds for _, kinds in counts)
    assert changed_after_saving(page, server) == []


def test_3_the_slider_moves_the_picture(page, server):
    from playwright.sync_api import expect

    show_cell(page, cell_id("explore("))
    slider = page.locator(".widget-slider .noUi-handle").first
    picture = page.locator("img.widget-image").first
    expect(slider).to_be_visible(timeout=PATIENCE)
    expect(picture).to_be_visible(timeout=PATIENCE)
    slider.scroll_into_view_if_needed()
    before = picture.get_attribute("src")
    shot(page, server, "2-slider-before")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "old => document.querySelector('img.widget-image').src !== old", arg=before, timeout=PATIENCE
    )
    expect(page.locator(".widget-readout").first).to_be_visible()
    page.wait_for_timeout(1500)  # let the last of the three redraws arrive before the picture is taken
    shot(page, server, "3-slider-after")


def test_4_every_live_figure_carries_its_alt_text(page):
    """In the notebook's own model, where exporters and readers find it; JupyterLab 4 itself draws every PNG
    without alt.
    """
    alts = page.evaluate(f"""() => {WIDGET}.content.widgets.filter(cell => cell.model.type === 'code')
      .flatMap(cell => cell.model.sharedModel.toJSON().outputs)
      .filter(output => output.data && output.data['image/png'])
      .map(output => (output.metadata['image/png'] || {{}}).alt || '')""")
    assert alts and all(len(alt) >= 20 for alt in alts), alts


def test_5_a_wrong_answer_gets_its_sentence_and_a_right_one_passes(page, server):
    id = cell_id('check("02.1"')
    said = page.evaluate(RUN_CELL, [id, WRONG])
    assert re.match(r"✗ 02\.1 .*joint term is missing", said), said
    show_cell(page, id)
    page.wait_for_timeout(500)
    shot(page, server, "4-wrong")
    said = page.evaluate(RUN_CELL, [id, RIGHT])
    assert re.match(r"✓ 02\.1 .*: right \(\d points?\)", said), said
    show_cell(page, id)
    page.wait_for_timeout(500)
    shot(page, server, "5-right")
    assert json.loads((server[0] / "home" / "progress.json").read_text())["02.1"] == {
        "tries": 2,
        "passed": True,
    }
    (change,) = changed_after_saving(page, server)
    assert re.fullmatch(r"cell \d+ \(import torch\.nn\.functional as F\)", change)


def test_6_nothing_popped_up_nothing_complained_and_nothing_went_outside(page):
    assert page.locator(".Toastify__toast").count() == 0
    assert page.errors == []
    assert page.outside == []
