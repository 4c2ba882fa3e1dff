"""Find what a phrase names: a score for every cell of the map, and a box that starts from there."""

from __future__ import annotations

import torch
from torch import Tensor

from cmlib.models.finder import cells_of, middles
from cmlib.tasks.base import Task


class Find(Task):
    """Outputs and boxes as those of ``cmlib.models.finder.Finder``; targets: "boxes" (batch, things, 4) in
    parts of the picture's side, and "hits" bool (batch, phrases, things), which of them a phrase names.

    Loss: the focal loss of the scores (Lin et al. 2017), 1 for the cells in which the middle of a named thing
    lies, summed over cells; plus, of these cells, 1 − GIoU of the box (Rezatofighi et al. 2019). Both are
    divided by the number of phrases. Scores: loss, and point and accuracy: the share of the phrases that name
    something whose best cell lies in the box of such a thing, and whose best box has an IoU of .5 with it.
    gamma : 0 makes the focal loss half a cross-entropy; box : weight of the boxes, 0 to leave them out
    """

    targets = ("boxes", "hits")

    def __init__(self, gamma: float = 2.0, box: float = 0.25):
        self.gamma, self.box = gamma, box

    def objective(self, outputs: dict[str, Tensor], batch) -> dict[str, Tensor]:
        from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

        boxes, hits = batch.targets["boxes"], batch.targets["hits"]
        score, phrases = outputs["score"], hits.shape[0] * hits.shape[1]
        row, phrase, thing = hits.nonzero(as_tuple=True)
        cell = cells_of(boxes, score.shape[2])[row, thing]
        right = torch.zeros_like(score).index_put((row, phrase, cell), score.new_ones(()))
        heat = sigmoid_focal_loss(score, right, alpha=0.5, gamma=self.gamma, reduction="sum") / phrases
        found = outputs["box"][row, phrase, cell]
        box = generalized_box_iou_loss(found, boxes[row, thing], reduction="sum") / phrases
        return {"loss": heat + self.box * box, "heat": heat, "box": box}

    def keep(self, outputs, batch):
        from torchvision.ops import box_iou

        loss = self.objective(outputs, batch)["loss"]
        boxes, hits = batch.targets["boxes"], batch.targets["hits"]
        cell = outputs["score"].argmax(2)  # (batch, phrases)
        best = outputs["box"].gather(2, cell[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        overlap = torch.stack([box_iou(*one) for one in zip(best, boxes, strict=True)])
        point = middles(outputs["score"].shape[2], cell.device)[cell][:, :, None]
        inside = ((point >= boxes[:, None, :, :2]) & (point < boxes[:, None, :, 2:])).all(3)
        return {"loss": loss.expand(len(hits)), "named": hits.any(2), "point": (inside & hits).any(2),
                "accuracy": ((overlap >= 0.5) & hits).any(2)}

    def score(self, kept, rows) -> dict[str, float]:
        named = kept["named"]
        return {"loss": kept["loss"].double().mean().item()} | {
            name: kept[name][named].double().mean().item() for name in ("point", "accuracy")}

    def check(self, name: str, rows, outputs) -> None:
        boxes, named = rows.targets["boxes"], rows.targets["hits"].any(1)  # (rows, things)
        empty = (boxes[..., :2] >= boxes[..., 2:]).any(2) & named
        beyond = ((boxes < 0) | (boxes > 1)).any(2) & named
        for row, thing in (empty | beyond).nonzero()[:1].tolist():
            box = ", ".join(f"{value:g}" for value in boxes[row, thing].tolist())
            says = ("is empty: x0 < x1 and y0 < y1 must hold; are its corners exchanged, or is it given as "
                    "corner and size?") if empty[row, thing] else (
                    "leaves the picture, which runs from 0 to 1 each way: divide pixels by the picture's "
                    "side, or cut the box off at the edge.")
            raise ValueError(f"Box {thing} of row {row} of {name}, ({box}), {says}")
