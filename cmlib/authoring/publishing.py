"""The course handed out: as one file for Colab, and under a public address."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

from cmlib.authoring import address, notebooks, running
from cmlib.authoring.address import Address

NAME = "cross-modal-course"
PACKED = ("cmlib/**/*", "data/**/*", "notebooks/[0-9]*.ipynb", "notebooks/src/*.py", "pyproject.toml",
          "README.md", "LICENSE*")
LARGEST = 20_000_000  # bytes: an upload of a minute
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
EVERYWHERE = """\
Only what is missing is added, without dependencies, so Colab's own torch, numpy and transformers stay as they
are. Progress ends with Colab's machine, unless a mounted Drive keeps it:
`os.environ["CMLIB_HOME"] = "/content/drive/MyDrive/cmlib"`. Set `CML_SOURCE` to clone from elsewhere."""
SECTION = re.compile(r"(?<=<!-- colab -->\n).*?(?=\n<!-- end colab -->)", re.DOTALL)


def pack(folder: Path) -> Path:
    """Write ``cross-modal-course.zip``, which a lesson's first cell finds, into ``folder``; returns its path.

    ValueError where it would be larger than 20 MB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / f"{NAME}.zip", folder / f"{NAME}.zip.part"
    files = sorted({file for pattern in PACKED for file in notebooks.ROOT.glob(pattern)
                    if file.is_file() and "__pycache__" not in file.parts})
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, Path(NAME) / file.relative_to(notebooks.ROOT))
    size = part.stat().st_size
    if size > LARGEST:
        part.unlink()
        raise ValueError(f"{path.name} would have {size / 1e6:.0f} MB, and {LARGEST // 1_000_000} are the "
                         "most: something large lies in cmlib/, data/ or notebooks/.")
    os.replace(part, path)
    return path


def publish(repository: str, tag: str | None = None) -> list[str]:
    """Write the public address into pyproject.toml, the lessons' first cells and titles, README and guides.

    repository : as a stranger clones it, https://…
    tag : what the lessons clone, by default v and the version
    Returns what was written and what is left to do, in sentences. ValueError, and nothing is written, where
    the address does not answer or a lesson is not the one that its source makes.
    """
    root = notebooks.ROOT
    new = Address(repository.rstrip("/"), tag or f"v{address.project(root)['version']}")
    tags = _answering(new)
    stored = {source: _in_step(source) for source in notebooks.sources()}
    old = address.project(root)["urls"]["repository"]
    address.write(root, new)
    for source, notebook in stored.items():
        fresh = notebooks.build(source)
        for kept, cell in zip(notebook["cells"], fresh["cells"], strict=True):
            kept["source"] = cell["source"]
        running.write(notebooks.built(source), notebook)
    pages = [page for page in (root / "README.md", root / "CONTRIBUTING.md", *sorted(root.glob("docs/*.md")))
             if page.exists()]
    for page in pages:
        text = page.read_text("utf-8").replace(old, new.repository)
        page.write_text(SECTION.sub(lambda _: on_colab(new), text), "utf-8")
    names = ", ".join(page.name for page in pages)
    done = f"{new.repository} answers; it now stands in pyproject.toml, {len(stored)} lessons and {names}."
    return [done, _left_to_do(new, tags)]


def on_colab(where: Address | None) -> str:
    """README's paragraph on Colab, between its two marks."""
    zipped = (f"`make colab-zip` makes one file, `build/{NAME}.zip`: drop it into Colab's Files panel,\n"
              "or keep it in My Drive and mount Drive")
    if where is None:
        text = ("**On Colab** upload any notebook of `notebooks/`. The course has no public address yet, so\n"
                f"{zipped}; the lesson's first cell finds it.")
    else:
        link = where.colab(notebooks.sources()[0].stem)
        badge = f"[![Open in Colab]({BADGE})]({link})\n\n" if link else ""
        text = (f"{badge}**On Colab** open any lesson: its first cell clones `{where.tag}` of\n"
                f"{where.repository}. Without a network to it,\n{zipped}.")
    return f"{text}\n{EVERYWHERE}"


def _answering(new: Address) -> list[str]:
    """The tags and branches under an address; ValueError where a stranger cannot clone it."""
    if not re.fullmatch(r"\w+://[^\s\"'\\{}<>]+", new.repository):
        raise ValueError("The address is one that everybody can clone, such as https://github.com/NAME/"
                         f"{NAME}; got {new.repository!r}.")
    if not re.fullmatch(r"\w[\w./-]*", new.tag):
        raise ValueError(f"A tag is a name such as v1.0; got {new.tag!r}.")
    command = ["git", "-c", "credential.helper=", "ls-remote", "--", new.repository]  # no password of yours
    settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
    try:
        run = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=60,
                             check=False)
        problem = run.stderr.strip().splitlines() if run.returncode else []
    except subprocess.TimeoutExpired:
        problem = ["no answer in 60 s"]
    if problem:
        raise ValueError(f"{new.repository} does not answer as a repository that everybody can clone, so "
                         f"nothing was written: {problem[-1]}")
    return [line.partition("\t")[2].rpartition("/")[2] for line in run.stdout.splitlines()]


def _in_step(source: Path) -> dict:
    """The stored notebook of a source; ValueError where it is not what the source makes today."""
    path = notebooks.built(source)
    stored = json.loads(path.read_text("utf-8")) if path.exists() else None
    if stored is None or notebooks.fingerprint(stored) != notebooks.fingerprint(notebooks.build(source)):
        raise ValueError(f"{path.name} is not what its source makes, so nothing was written: "
                         f"make notebooks ONLY={source.name[:2]} first.")
    return stored


def _left_to_do(new: Address, tags: list[str]) -> str:
    if new.tag in tags:
        return (f"{new.tag} is there already, with lessons that do not know this address: commit, then move "
                "it, or publish under another --tag.")
    return f"Left to do: commit, git tag {new.tag}, git push origin HEAD {new.tag}."
