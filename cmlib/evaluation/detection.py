"""Boxes that were found, and how well: non-maximum suppression and average precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cmlib.data.pairs import describe


def detections(outputs: Mapping[str, Tensor], threshold: float, overlap: float = 0.4):
    """Of every row and phrase (boxes (n, 4), probabilities (n,)), best first; n is 0 where nothing is found.

    outputs : {"score": logits (rows, phrases, cells), "box": (rows, phrases, cells, 4)}, as a Finder gives
    threshold : of the probability; overlap : a box goes whose IoU with a better one is above this
    """
    from torchvision.ops import nms

    def of_phrase(score, box):
        probability = score.sigmoid()
        box, probability = box[probability >= threshold], probability[probability >= threshold]
        kept = nms(box, probability, overlap)
        return box[kept], probability[kept]

    return [[of_phrase(*one) for one in zip(scores, boxes, strict=True)]
            for scores, boxes in zip(outputs["score"], outputs["box"], strict=True)]


def box_average_precision(
    boxes: Tensor, scores: Tensor, pictures: Tensor, truths: Tensor, shown: Tensor, iou: float = 0.5
) -> float:
    """The area under precision against recall, the precision at each recall being the best from there on
    (Everingham et al. 2015); AP50 at iou=.5, and COCO's AP is its mean over .50, .55, … .95 (but
    read at 101 values of recall).

    boxes (n, 4), scores (n,), pictures int64 (n,) : what was found, in which picture, or of which phrase
    truths (m, 4), shown int64 (m,) : what is there. Best score first, each box claims of the things in its
    picture that nobody has claimed the one of the largest IoU, if that is ``iou`` or more.
    """
    from torchvision.ops import box_iou

    if not len(truths):
        raise ValueError(f"There are no true boxes, {describe(truths)}: recall is a share of them.")
    if not len(boxes):
        return 0.0
    free, hits = torch.ones(len(truths), dtype=torch.bool), torch.zeros(len(boxes), dtype=torch.float64)
    overlaps = box_iou(boxes, truths) * (pictures[:, None] == shown)
    for rank, one in enumerate(scores.argsort(descending=True, stable=True)):
        best = (overlaps[one] * free).argmax()
        if free[best] and overlaps[one, best] >= iou:
            free[best], hits[rank] = False, 1.0
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision.flip(0).cummax(0).values.flip(0) * hits).sum() / len(truths))
