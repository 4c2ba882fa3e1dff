"""Inside the box: what of IPython an answer may need, such as a file that a shell line writes, %run or %env.

What only shows something or fetches it is passed over, and a magic that is not known here raises ImportError,
which is then told as missing.
"""

from __future__ import annotations

import importlib
import os
import string
import subprocess
from pathlib import Path

SECONDS = 10  # for one shell line
FETCHES = {"apt", "apt-get", "conda", "curl", "git", "mamba", "pip", "pip3", "uv", "wget"}
SHOWS = {
    "autoreload", "colors", "conda", "config", "config_inline_backend", "history", "html", "javascript", "js",
    "latex", "load_ext", "ls", "lsmagic", "mamba", "markdown", "matplotlib", "mkdir", "pdb", "pinfo",
    "pinfo2", "pip", "precision", "psource", "pwd", "pylab", "reload_ext", "svg", "tensorboard", "time",
    "timeit", "uv", "who", "whos", "xmode",
}  # fmt: skip


class Shell:
    """What ``get_ipython()`` gives; user_ns : the names of the notebook."""

    def __init__(self, space: dict):
        self.user_ns = space

    def system(self, command: str) -> None:
        """``!command``"""
        self.getoutput(command)

    def getoutput(self, command: str) -> list[str]:
        """``lines = !command``"""
        try:
            command = string.Formatter().vformat(command, (), self.user_ns)  # {name} is a variable's value
        except (ValueError, LookupError, AttributeError):
            pass
        return self._run(command) if command.split()[:1] and command.split()[0] not in FETCHES else []

    def run_line_magic(self, name: str, line: str, *_, **__):
        """``%name line``"""
        words = line.split()
        if name in ("env", "set_env") and words:
            key, _, value = line.partition("=") if "=" in line else line.partition(" ")
            os.environ[key.strip()] = value.strip()
        elif name == "cd" and words:
            os.chdir(words[0])
        elif name == "run" and words and not words[0].endswith(".ipynb"):
            path = Path(words[0]).with_suffix(".py")
            exec(compile(path.read_text("utf-8"), str(path), "exec"), self.user_ns)  # noqa: S102
        elif name in ("system", "sx", "sc"):
            return self.getoutput(line)
        elif name not in SHOWS and name != "env":
            raise ImportError(f"the magic %{name}")
        return None

    def run_cell_magic(self, name: str, line: str, cell: str):
        """``%%name line``, and the rest of the cell"""
        if name in ("bash", "sh", "script", "!"):
            self._run(cell)
        elif name not in SHOWS:
            raise ImportError(f"the magic %%{name}")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None

    def _run(self, command: str) -> list[str]:
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        importlib.invalidate_caches()  # it may have written a module
        return done.stdout.splitlines()
