"""Rebuild what data/ ships: ``python -m cmlib.encoders.pretrain`` (``make weights``), in minutes on one core.

The text encoder learns to fill in masked words; the image encoder learns to name what is in a picture.
Neither ever sees a refund label or a situation: what lesson 06 asks of them, they have to get from the pairs
of lesson 06.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cmlib.data.batch import ImageBatch, TextBatch
from cmlib.data.files import sha256
from cmlib.data.pairs import Pairs
from cmlib.data.tokens import pad
from cmlib.encoders.image import image_encoder
from cmlib.encoders.text import mini_bert_config
from cmlib.encoders.tokenizer import FOLDER, mini_tokenizer, train_wordpiece
from cmlib.encoders.weights import DATA
from cmlib.worlds import COLORS, FINDINGS, KINDS, Chest, RefundDesk, Toys

SEED, STEPS = 2026, {"text": 3000, "image": 2000}
IGNORED = -100  # what cross_entropy leaves out
HEADS = {"kind": len(KINDS), "color": len(COLORS), "size": 2, "cracked": 2, "container": 3,  # desk
         "kinds": len(KINDS), "colors": len(COLORS), "any cracked": 1, "count": 4,  # toys
         "findings": len(FINDINGS), "main finding": 1 + len(FINDINGS)}  # chest
MANY = ("kinds", "colors", "any cracked", "findings")  # yes or no to each of several questions


def scenes(split: str, start: int, n: int) -> dict[str, Pairs]:
    """Rows nobody has seen: half from the desk (two or six colours in turn), a fifth toys, the rest chest."""
    desk = RefundDesk(n_colors=(2, 6)[start // n % 2], seed=SEED)
    shares = {
        "desk": (desk, n // 2),
        "toys": (Toys(SEED), n // 5),
        "chest": (Chest(SEED), n - n // 2 - n // 5),
    }
    return {
        name: world.sample(rows, split=f"pretraining {split}", start=start)
        for name, (world, rows) in shares.items()
    }


def emoji_names() -> list[str]:
    from cmlib.datasets import emoji

    return list(emoji(split="train").texts)


def attributes(rows: dict[str, Pairs]) -> dict[str, torch.Tensor]:
    """Targets of every head, (rows, …) in the order desk, toys, chest; −100 where a picture has no such
    attribute.
    """
    desk, toys, chest = (rows[name].extras for name in ("desk", "toys", "chest"))
    sealed, boxed = desk["image_symbol"] == 2, desk["image_symbol"] > 2

    def present(which, n):  # (rows, 4) indices, −1 past the count → (rows, n) of 0 and 1
        return (which[:, :, None] == torch.arange(n)).any(1).float()

    in_desk = {
        "kind": desk["kind"].masked_fill(sealed, IGNORED),
        "color": desk["color"],
        "size": desk["size"].masked_fill(boxed, IGNORED),  # in a carton every toy has one size
        "cracked": desk["cracked"].masked_fill(sealed, IGNORED),
        "container": sealed.long() + 2 * boxed.long(),
    }
    in_toys = {"kinds": present(toys["kind"], len(KINDS)), "colors": present(toys["color"], len(COLORS)),
               "any cracked": present(toys["cracked"], 2)[:, 1:], "count": toys["count"] - 1}
    in_chest = {"findings": chest["findings"].float(), "main finding": rows["chest"].labels}
    counts, targets = [len(rows[name]) for name in rows], {}
    for place, part in enumerate((in_desk, in_toys, in_chest)):
        for name, values in part.items():
            blocks = [values if i == place else values.new_full((n, *values.shape[1:]), IGNORED)
                      for i, n in enumerate(counts)]
            targets[name] = torch.cat(blocks)
    return targets


def attribute_loss(logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum over heads of cross-entropy (one of several) or binary cross-entropy (each of several)."""
    total = torch.zeros(())
    for name, target in targets.items():
        if name in MANY:
            seen = target[:, 0] != IGNORED
            total = total + binary_cross_entropy_with_logits(logits[name][seen], target[seen])
        else:
            total = total + cross_entropy(logits[name], target, ignore_index=IGNORED)
    return total


def pretrain_image(steps: int):
    """ResNet + one linear head per attribute. Returns the encoder and its accuracy on held-out scenes."""
    torch.manual_seed(SEED)
    encoder = image_encoder("mini", pretrained=False)
    heads = nn.ModuleDict({name: nn.Linear(encoder.hidden_size, size) for name, size in HEADS.items()})

    def logits(rows):
        features = encoder(ImageBatch(torch.cat([part.images for part in rows.values()])))
        return {name: head(features) for name, head in heads.items()}

    def step(number):
        rows = scenes("train", number * 96, 96)
        return attribute_loss(logits(rows), attributes(rows))

    _descend([*encoder.parameters(), *heads.parameters()], step, steps, peak=4e-3)
    encoder.eval()
    right = {name: [] for name in HEADS}
    with torch.no_grad():
        for number in range(16):
            rows = scenes("test", number * 256, 256)
            guesses = logits(rows)
            for name, target in attributes(rows).items():
                guess = (guesses[name] > 0).float() if name in MANY else guesses[name].argmax(1)
                right[name].append((guess == target)[target != IGNORED].float())
    return encoder, {name: round(torch.cat(values).mean().item(), 4) for name, values in right.items()}


def pretrain_text(steps: int):
    """Masked language model (Devlin et al. 2019, section 3.1). Returns the BertModel and its accuracy on
    held-out texts.
    """
    from transformers import BertForMaskedLM

    torch.manual_seed(SEED)
    tokenizer, emoji, draw = mini_tokenizer(), emoji_names(), torch.Generator().manual_seed(SEED)
    model = BertForMaskedLM(mini_bert_config(len(tokenizer)))

    def batches(split):
        """Batches of 80 texts of like length, so that little is spent on padding; one in eleven is an emoji's
        name.
        """
        for start in itertools.count(0, 640):
            names = [emoji[i] for i in torch.randint(len(emoji), (64,), generator=draw).tolist()]
            texts = [text for part in scenes(split, start, 640).values() for text in part.texts]
            ids = sorted(tokenizer(texts + names)["input_ids"], key=len)
            for place in torch.randperm(8, generator=draw).tolist():
                yield mask_words(
                    pad(ids[place * 88 : (place + 1) * 88]), len(tokenizer), tokenizer.mask_token_id, draw
                )

    training = batches("train")

    def step(_):
        batch, targets = next(training)
        states = model.bert(batch.input_ids, batch.attention_mask).last_hidden_state[targets != IGNORED]
        # logits of the hidden words only
        return cross_entropy(model.cls(states), targets[targets != IGNORED])

    _descend(list(model.parameters()), step, steps, peak=2e-3)
    model.eval()
    right = []
    with torch.no_grad():
        for batch, targets in itertools.islice(batches("test"), 32):
            guess = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.argmax(-1)
            right.append((guess == targets)[targets != IGNORED].float())
    return model.bert, {"hidden words": round(torch.cat(right).mean().item(), 4)}


def mask_words(batch: TextBatch, vocab_size: int, mask_id: int, draw: torch.Generator, share: float = 0.2):
    """Choose a share of the tokens; replace 80 % of them by [MASK], 10 % by another, keep 10 %; targets
    elsewhere −100.
    """
    ids = batch.input_ids
    special = ids <= 4  # [PAD] [UNK] [CLS] [SEP] [MASK]
    chosen = (torch.rand(ids.shape, generator=draw) < share) & ~special
    how = torch.rand(ids.shape, generator=draw)
    other = torch.randint(5, vocab_size, ids.shape, generator=draw)
    hidden = torch.where(chosen & (how < 0.8), torch.full_like(ids, mask_id), ids)
    hidden = torch.where(chosen & (how >= 0.9), other, hidden)
    return TextBatch(hidden, batch.attention_mask), ids.masked_fill(~chosen, IGNORED)


def _descend(parameters, step, steps, peak):
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    recent, started = [], time.process_time()
    for number in range(steps):
        loss = step(number)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if (number + 1) % 250 == 0:
            print(f"step {number + 1:5d} of {steps}  loss {sum(recent[-250:]) / 250:.3f}  "
                  f"{time.process_time() - started:4.0f} CPU-seconds", flush=True)


def build_tokenizer(folder: Path) -> None:
    rows = [scenes("train", i * 1000, 1000) for i in range(4)]
    vocab = train_wordpiece(
        [text for part in rows for pairs in part.values() for text in pairs.texts] + emoji_names()
    )
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    print(f"tokenizer: {len(vocab)} pieces")


def save(module: nn.Module, name: str, metrics: dict, steps: int, folder: Path) -> None:
    """Write the weights and their entry on the card, weights.json: hash, size, recipe, metrics."""
    from safetensors.torch import save_file

    path, card = folder / f"{name}.safetensors", folder / "weights.json"
    save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, path)
    entry = {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "seed": SEED,
        "steps": steps,
        "parameters": sum(p.numel() for p in module.parameters()),
        "torch": torch.__version__.split("+")[0],
        "held-out accuracy": metrics,
    }
    entries = json.loads(card.read_text()) if card.is_file() else {}
    card.write_text(json.dumps(entries | {path.name: entry}, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").write_text(model_card(entries | {path.name: entry}))
    print(f"{path.name}: {entry['bytes']:,} bytes, sha256 {entry['sha256']}, held out {metrics}")


def model_card(entries: dict[str, dict]) -> str:
    """The card data/README.md: where the weights come from, how good they are, what they are not for."""
    lines = [CARD]
    for name, entry in sorted(entries.items()):
        made = (f"{entry['parameters']:,} parameters, {entry['bytes']:,} bytes, seed {entry['seed']}, "
                f"{entry['steps']} steps, "
                f"torch {entry['torch']}.")
        lines += [f"## {name}", "", made, "", f"SHA-256 `{entry['sha256']}`", "",
                  "| on scenes and texts never trained on | accuracy |", "|---|---|"]
        lines += [f"| {what} | {accuracy:.3f} |" for what, accuracy in entry["held-out accuracy"].items()] + [
            ""
        ]
    return "\n".join(lines)


CARD = """# The mini encoders

Written by `make weights` (`python -m cmlib.encoders.pretrain`, about ten minutes on one core); the hashes are also in
`weights.json` and are checked at every load. Another processor or torch may round otherwise and give another hash;
the accuracies hold.

* **Data**: fresh scenes at every step, drawn by `cmlib.worlds` from a seed and from split names that no lesson uses: refund
  desk (two or six colours), toys, chest drawings. The texts also hold the names of the *train* split of the emoji.
* **mini-resnet**: torchvision's `ResNet`, one `BasicBlock` per stage, width 16 to 128, no max-pool; 64-pixel pictures become
  a 4 × 4 map. Trained to name kind, colour, size, crack and container (desk), all kinds, all colours, any crack and the
  count (toys), the findings (chest), each with one linear layer on the mean of the map. The layers are not kept.
* **mini-bert**: `transformers.BertModel`, 2 layers of 128 with 4 heads. Trained to fill in hidden words, 20 % of them.
* **mini-tokenizer**: WordPiece learned from the same texts; every letter is a piece, so no word is unknown as a whole. Its
  trainer breaks ties at random, so `make weights` keeps the vocabulary; `--part tokenizer` makes another one.
* **Never seen**: refund labels and situations; any test or validation row of a lesson; a real photo; a real patient.
  The chest pictures are drawings. Use these encoders to learn how fusion works, and for nothing else.
* **Licence**: weights and tokenizer CC BY 4.0. Emoji names: EmojiBase, MIT.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("tokenizer", "text", "image"), help="only this part; the "
                                                                               "tokenizer is made anew only "
                                                                               "when named")
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write to")
    wanted = parser.parse_args()
    torch.set_num_threads(1)  # the bits of the result depend on it
    for part in ("tokenizer", "text", "image"):
        if wanted.part != part and (wanted.part or part == "tokenizer"):
            # the vocabulary is kept: its trainer breaks ties at random, and other ids are other
            # weights
            continue
        if part == "tokenizer":
            build_tokenizer(wanted.out)
        elif part == "text":
            save(*_named(pretrain_text, "text", "mini-bert"), wanted.out)
        else:
            save(*_named(pretrain_image, "image", "mini-resnet"), wanted.out)


def _named(pretrain, part, name):
    module, metrics = pretrain(STEPS[part])
    return module, name, metrics, STEPS[part]


if __name__ == "__main__":
    main()
