"""The card of what data/ ships: weights.json for the loader, README.md for people."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from cmlib.data.files import sha256
from cmlib.encoders.weights import DATA
from recipes.scenes import SEED

TOLERANCE = 0.01  # between an accuracy on the card and that of a rebuilt part


def save(module: nn.Module, name: str, found: dict[str, float], steps: int, folder: Path) -> None:
    """Write the weights and their entry on the card: hash, size, recipe, accuracies."""
    from safetensors.torch import save_file

    path, card = folder / f"{name}.safetensors", folder / "weights.json"
    save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors writes for its owner alone; a class may share one folder
    entry = {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "seed": SEED,
        "steps": steps,
        "parameters": sum(p.numel() for p in module.parameters()),
        "torch": torch.__version__.split("+")[0],
        "held-out accuracy": found,
    }
    entries = (json.loads(card.read_text()) if card.is_file() else {}) | {path.name: entry}
    card.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").write_text(model_card(entries))
    print(f"{path}: {entry['bytes']:,} bytes, sha256 {entry['sha256']}")


def compare(name: str, found: dict[str, float]) -> float:
    """Print each accuracy beside the one that data/ states, if it does; returns the largest difference."""
    entry = json.loads((DATA / "weights.json").read_text()).get(f"{name}.safetensors", {})
    stated = entry.get("held-out accuracy", found)
    print(f"{name:24} {'stated':>8} {'now':>8}")
    for what, accuracy in found.items():
        print(f"  {what:22} {stated[what]:8.4f} {accuracy:8.4f}")
    return max(abs(stated[what] - accuracy) for what, accuracy in found.items())


def model_card(entries: dict[str, dict]) -> str:
    """README.md: where the weights come from, how good they are, what they are not for.

    entries : weights.json; "rebuilt" in an entry, put there by hand: the accuracies of the last rebuild
    """
    lines = [CARD]
    for name, entry in sorted(entries.items()):
        again = entry.get("rebuilt", {})
        made = f"{entry['parameters']:,} parameters, {entry['bytes']:,} bytes, seed {entry['seed']}, "
        made += f"{entry['steps']:,} steps, torch {entry['torch']}."
        lines += [f"## {name}", "", made, "", f"SHA-256 `{entry['sha256']}`", ""]
        lines += ["| held-out accuracy | shipped |" + (" rebuilt |" if again else "")]
        lines += ["|---|---|" + ("---|" if again else "")]
        for what, accuracy in sorted(entry["held-out accuracy"].items()):
            lines.append(f"| {what} | {accuracy:.3f} |" + (f" {again[what]:.3f} |" if again else ""))
        lines.append("")
    return "\n".join(lines)


CARD = """# The mini encoders and the judge

`weights.json` holds the hashes, which are checked at every load. `make weights` (`python -m
recipes.mini_encoders`, about nine minutes on one core, 2 GB) builds all of it anew in `build/weights` through
`fit`, and fails where an accuracy is more than 0.01 from the one stated here.

* **The two encoders keep their bytes**, because the numbers of all lessons hang on them. Version 0.1 made
  them, with a loop of its own that drew fresh scenes at every step. A rebuilt encoder has other bits
  (another loop; another processor or torch rounds otherwise, too) and the same accuracies: column
  *rebuilt*.
* **Data**: scenes drawn by `cmlib.worlds` from a seed and from split names that no lesson uses: refund desk
  (two or six colours), toys, chest drawings. The texts also hold the names of the *train* split of the
  emoji, one for every ten scenes; of the held-out texts one in eleven is such a name, which training has
  seen too.
* **mini-resnet**: torchvision's `ResNet`, one `BasicBlock` per stage, width 16 to 128, no max-pool;
  64-pixel pictures become a 4 × 4 map. Trained to name kind, colour, size, crack and container (desk), all
  kinds, all colours, any crack and the count (toys), the findings (chest), each with one linear layer on
  the mean of the map. Those layers were not kept.
* **mini-attributes**: the same linear layers, trained once more on the frozen mini-resnet:
  `cmlib.encoders.judge()` names what is in a picture where a lesson needs a judge. Believe it on
  pictures of the world that an attribute belongs to (`ATTRIBUTES`), drawn as these worlds draw them, and no
  further than the table says. "Kinds", "colors", "any cracked" and "findings" count every yes and no, most
  of which are no.
* **mini-bert**: `transformers.BertModel`, 2 layers of 128 with 4 heads. Trained to fill in hidden words, a
  fifth of them.
* **mini-tokenizer**: WordPiece learned from the same texts; every letter is a piece, so no word is unknown
  as a whole. Its trainer breaks ties at random, so `make weights` keeps the vocabulary; `--part tokenizer`
  makes another one.
* **Never seen**: refund labels and situations; any test or validation row of a lesson; a real photo; a real
  patient. The chest pictures are drawings. Use these encoders to learn how fusion works, and for nothing
  else.
* **Licence**: weights and tokenizer CC BY 4.0. Emoji names: EmojiBase, MIT.
"""
