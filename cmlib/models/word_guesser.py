"""Hidden words of a report, guessed from the rest of the report and from the picture."""

from __future__ import annotations

import torch
from torch import nn

from cmlib.data.batch import Batch
from cmlib.data.device import follow, settle


class WordGuesser(nn.Module):
    """forward(Batch) → logits (batch, hidden words, n_words): masked words in which the picture has a say (Lu
    et al. 2019, section 3.2).

    image_encoder : learns; the state of each hidden word looks at the cells of its map, by attention
    text_size     : width of the states that the batch carries as the target "states" (batch, hidden words,
        text_size), of a text encoder that does not learn
    n_words       : how many words may have been hidden
    """

    def __init__(self, image_encoder: nn.Module, text_size: int, n_words: int, hidden_size: int = 128):
        super().__init__()
        width = image_encoder.hidden_size
        self.normalize, self.query = nn.LayerNorm(text_size), nn.Linear(text_size, width)
        self.head = nn.Sequential(
            nn.Linear(2 * width + text_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, n_words)
        )
        settle(self)
        self.image_encoder = image_encoder

    def forward(self, batch: Batch) -> torch.Tensor:
        batch = follow(batch, self)
        cells = self.image_encoder.feature_map(batch.image).flatten(2)  # (batch, width, cells)
        words = self.normalize(batch.targets["states"])  # (batch, hidden words, text_size)
        scores = self.query(words) @ cells / cells.shape[1] ** 0.5  # (batch, hidden words, cells)
        looked = scores.softmax(2) @ cells.transpose(1, 2)  # (batch, hidden words, width)
        whole = cells.mean(2)[:, None].expand_as(looked)
        return self.head(torch.cat([looked, whole, words], 2))
