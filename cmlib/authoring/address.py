"""Where the course is published: one address, in pyproject.toml. While it is a placeholder, there is none."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

PLACEHOLDER = "/ORG/"
TAG = re.compile(r'\n\[tool\.cmlib\]\ntag = "[^"]*"\n')


@dataclass(frozen=True)
class Address:
    """repository : what a stranger can clone; tag : the tag (or branch) of it that the lessons clone."""

    repository: str
    tag: str

    def colab(self, stem: str) -> str:
        """Where Colab opens a lesson such as "05_seeing"; "" for an address that is not GitHub's."""
        github = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?", self.repository)
        start = "https://colab.research.google.com/github/"
        return f"{start}{github[1]}/blob/{self.tag}/notebooks/{stem}.ipynb" if github else ""


def project(root: Path) -> dict:
    """The table ``project`` of pyproject.toml in ``root``."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def published(root: Path) -> Address | None:
    """The address that stands in pyproject.toml in ``root``; None while it is a placeholder."""
    told = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    repository = told["project"]["urls"]["repository"]
    tag = told["tool"].get("cmlib", {}).get("tag") or f"v{told['project']['version']}"
    return None if PLACEHOLDER in repository else Address(repository, tag)


def write(root: Path, address: Address) -> None:
    """Put the address into pyproject.toml in ``root``; its tag only where it is not v and the version."""
    path = root / "pyproject.toml"
    text = TAG.sub("", path.read_text("utf-8"))
    text = re.sub(r'(?<=^repository = ").*(?="$)', lambda _: address.repository, text, flags=re.MULTILINE)
    if address.tag != f"v{project(root)['version']}":
        text += f'\n[tool.cmlib]\ntag = "{address.tag}"\n'
    path.write_text(text, "utf-8")
