"""Settings for ``pytest --nbval notebooks/*.ipynb`` (nbval 0.11).

Integers and words are compared exactly, decimals within 2 % + 0.002, and ``mean ± spread`` as what it is:
another processor rounds other last bits, and then a seed is a draw from the distribution that was printed.
A killed kernel fails at once; sliders, ``clear_output`` and a trailing ``;`` behave as they do in JupyterLab.
tests/test_nbval_settings.py plants errors.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from queue import Empty

RELATIVE, ABSOLUTE = 2e-2, 2e-3
SPREAD_FACTOR, SPREAD_SLACK = 2, 5e-3
_SIZE = r"(?:\d*\.\d+|\d+)(?:[eE][-+]?\d+)?"
NUMBER = re.compile(rf"(?<![\w.])([-+]?{_SIZE})(?:[ \t]*±[ \t]*({_SIZE}))?(?!\w)")  # (number or mean, spread)
NOT_COMPARED = ("image/svg+xml", "text/html", "stderr")  # besides nbval's own: PNG, JPEG, widget ids
OUTPUTS = {"stream", "display_data", "execute_result", "update_display_data", "clear_output"}


class Stored(str):
    """An output as the notebook has it; equal to a new one that another processor may also print."""

    __hash__ = str.__hash__

    def __eq__(self, new):
        if str.__eq__(self, new):
            return True
        if _words(self) != _words(new):
            return False
        numbers = zip(NUMBER.findall(self), NUMBER.findall(new), strict=True)
        return all(_same(*stored, *other) for stored, other in numbers)

    def __ne__(self, new):
        return not self == new


def _words(text: str) -> str:
    """The text with a mark for every number, and another one for every mean ± spread."""
    marked = NUMBER.sub(lambda match: "#±#" if match[2] else "#", text)
    return re.sub(r"\s+", " ", marked)


def _same(mean: str, spread: str, new_mean: str, new_spread: str) -> bool:
    if not spread:
        return _close(mean, new_mean)
    off = abs(float(mean) - float(new_mean)) - 1e-9  # 0.93 - 0.90 is more than 0.03 in binary
    # The stored spread alone says how far a mean may go: a new run cannot excuse itself by its own noise.
    return (_close(mean, new_mean) or off <= float(spread)) and _like(float(spread), float(new_spread))


def _like(spread: float, new: float) -> bool:
    """The spread of a few seeds is a rough number: neither may be more than twice the other and .005."""
    low, high = sorted((spread, new))
    return high <= SPREAD_FACTOR * low + SPREAD_SLACK


def _close(stored: str, new: str) -> bool:
    if stored == new:
        return True
    if not set(".eE") & set(stored + new):
        return False  # two integers
    x, y = float(stored), float(new)
    return abs(x - y) <= ABSOLUTE + RELATIVE * max(abs(x), abs(y))


def pytest_configure(config):
    if not (getattr(config.option, "nbval", False) or getattr(config.option, "nbval_lax", False)):
        return
    home = tempfile.mkdtemp(prefix="cmlib-")  # the learner's own progress is neither read nor written
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ |= {"CMLIB_HOME": home, "CMLIB_DPI": "72", "CMLIB_SCALE": "small", "OMP_NUM_THREADS": "1"}
    option = config.option
    settings = Path(__file__).resolve().parent.parent / "nbval.cfg"
    option.nbval_sanitize_with = option.nbval_sanitize_with or str(settings)
    option.nbval_current_env = not option.nbval_kernel_name
    option.nbval_cell_timeout = min(float(option.nbval_cell_timeout), 180)
    option.nbval_kernel_startup_timeout = 120
    _patch_nbval()


def _patch_nbval():
    from nbval import kernel, plugin

    exact, start_once = plugin.IPyNbCell.sanitize, kernel.start_new_kernel

    def start_new_kernel(*arguments, **settings):
        # A kernel's ports are chosen, let go and bound again: another process may take one in between.
        for _ in range(2):
            try:
                return start_once(*arguments, **settings)
            except RuntimeError as error:
                if "died" not in str(error):
                    raise
        return start_once(*arguments, **settings)

    def sanitize(self, text):
        text = exact(self, text)
        return Stored(text) if isinstance(text, str) else text

    def execute_cell_input(self, cell_input, allow_stdin=None):
        # Only cells that enter the history obey a trailing ';' (nbval issue 194).
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id, timeout=None):
        end = time.monotonic() + (timeout or 3600)
        while True:
            try:
                message = self.get_message(stream="shell", timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died in this cell") from None
                if time.monotonic() > end:
                    raise
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return

    kernel.start_new_kernel = start_new_kernel
    plugin.IPyNbCell.sanitize = sanitize
    kernel.RunningKernel.execute_cell_input = execute_cell_input
    kernel.RunningKernel.await_reply = await_reply
    plugin.IPyNbFile.get_kernel_message = _get_kernel_message


def _get_kernel_message(self, timeout=None, stream="iopub"):
    """The next message that leaves something in the cell's output, as a front end would see it."""
    # Output widget → id of the message whose output it takes
    captured = self.__dict__.setdefault("_captured", {})
    while True:
        message = self.kernel.get_message(stream, timeout=timeout)
        kind, content = message["msg_type"], message["content"]
        if stream != "iopub":
            return message
        state = (content.get("data") or {}).get("state", {}) if kind.startswith("comm") else {}
        if kind == "comm_open" and state.get("_model_name") == "OutputModel":
            captured[content["comm_id"]] = state.get("msg_id", "")
        elif kind == "comm_msg" and content["comm_id"] in captured and "msg_id" in state:
            captured[content["comm_id"]] = state["msg_id"]
        elif kind in OUTPUTS:
            taken = message["parent_header"].get("msg_id", "-") in captured.values()
            if taken or kind == "update_display_data":
                continue
            outputs = getattr(getattr(self, "_cell", None), "test_outputs", None) or []
            if kind == "clear_output":
                self._clear_next = content.get("wait", False)
                if not self._clear_next:
                    outputs.clear()
                continue
            if getattr(self, "_clear_next", False):
                outputs.clear()
                self._clear_next = False
        return message


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED


def pytest_runtest_setup(item):
    if type(item).__name__ == "IPyNbCell":
        item.parent._cell = item
