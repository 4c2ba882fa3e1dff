"""Each picture must find its own text among those of the batch, and each text its picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from cmlib.data.pairs import describe
from cmlib.losses.contrastive import sigmoid_contrast
from cmlib.tasks.base import Task
from cmlib.tasks.recall import recall_at


class Contrast(Task):
    """InfoNCE in both directions (Radford et al. 2021, figure 3), over all rows of a batch.

    Outputs: {"image": (batch, hidden_size), "text": (batch, hidden_size), "scale": number}, scale =
    1/temperature, which the model learns; and, if it gives them, "hard": (batch, hidden_size), a wrong text
    of each row, which every picture has to leave aside as well (hard negatives, Yuksekgonul et al. 2023,
    section 4). Scores: loss (over all rows at once) and recall@1, the share of rows that find their partner
    among all, the mean of both directions; ties count by chance.
    """

    separable = False

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        logits = self.similarity(outputs)  # (batch, batch)
        partner = torch.arange(len(logits), device=logits.device)
        choices = logits
        if "hard" in outputs:
            choices = torch.cat([logits, self.similarity(outputs, "hard")], dim=1)  # (batch, 2 · batch)
        return (cross_entropy(choices, partner) + cross_entropy(logits.T, partner)) / 2

    def similarity(self, outputs: dict[str, Tensor], text: str = "text") -> Tensor:
        """Row k: how well picture k fits each text, the cosine times the scale, (rows, rows)."""
        image, text = (normalize(outputs[name], dim=1) for name in ("image", text))
        return outputs["scale"] * image @ text.T

    def keep(self, outputs: dict[str, Tensor], batch) -> dict[str, Tensor]:
        return outputs

    def score(self, kept: dict[str, Tensor], rows) -> dict[str, float]:
        logits = self.similarity(kept)
        found = [recall_at(logits), recall_at(logits.T)]
        return {"loss": self.objective(kept, None).item(), "recall@1": sum(found) / 2}

    def check(self, name: str, rows, outputs) -> None:
        what = type(self).__name__
        if not isinstance(outputs, dict) or not {"image", "text", "scale"} <= outputs.keys():
            found = ", ".join(outputs) if isinstance(outputs, dict) else describe(outputs)
            raise ValueError(
                f"{what} compares what the model calls 'image' and 'text', at its 'scale', in a dict; it "
                f"gave {found}."
            )
        image, text = outputs["image"], outputs["text"]
        if image.shape != text.shape or image.ndim != 2:
            raise ValueError(
                f"{what} compares 'image' and 'text' row by row, both (batch, hidden_size); the model gave "
                f"{describe(image)} and {describe(text)}."
            )
        if name == "train" and len(image) < 2:
            raise ValueError("A batch of one row has nothing to be compared with: choose a batch_size of 2 "
                             "or more.")


class SigmoidContrast(Contrast):
    """The same comparison as yes or no for every pair (SigLIP, Zhai et al. 2023, equation 1).

    Outputs as for Contrast, without "hard", and "bias": number, learned as well; it begins near −ln(batch),
    or below, because all but one of a picture's pairs are wrong.
    """

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        return sigmoid_contrast(self.similarity(outputs) + outputs["bias"])

    def check(self, name: str, rows, outputs) -> None:
        super().check(name, rows, outputs)
        if "bias" not in outputs:
            raise ValueError("SigmoidContrast adds a 'bias' to every similarity, and the model gave none: "
                             "TwoTowers(…, bias=-10.0) learns one.")


def prompt_logits(image: Tensor, prompts: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Classes that are given as sentences: how well each picture fits each, scale · cosine, (batch, classes).

    image : (batch, hidden_size); prompts : (classes, templates, hidden_size), what the text tower makes of
    each template of each class. The directions of the templates are averaged, and their mean is brought back
    to length 1 (Radford et al. 2021, section 3.1.4).
    """
    if prompts.ndim != 3 or not prompts.shape[1] or image.ndim != 2 or image.shape[1] != prompts.shape[2]:
        raise ValueError("Pictures (batch, hidden_size) are compared with prompts (classes, templates, "
                         f"hidden_size), a template at least; got {describe(image)} and {describe(prompts)}.")
    classes = normalize(normalize(prompts, dim=2).mean(1), dim=1)  # (classes, hidden_size)
    return scale * normalize(image, dim=1) @ classes.T
