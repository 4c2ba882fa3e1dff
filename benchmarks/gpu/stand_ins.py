"""BERT-base and ResNet-50 with random weights, for machines that can fetch nothing.

Sizes, shapes and times are those of the real ones; they know nothing, and their ``pretrained`` says so.
"""

from __future__ import annotations

VOCABULARY = 30522  # pieces of bert-base-uncased


def place(small: bool = False) -> None:
    """From now on "bert-base-uncased" and "resnet50" are stand-ins. small : of the mini encoders' size."""
    from cmlib.encoders import image_encoder, stand_in, text_encoder

    if small:
        stand_in("bert-base-uncased", lambda **_: text_encoder("mini", pretrained=False), fresh=True)
        stand_in("resnet50", lambda **_: image_encoder("mini", pretrained=False), fresh=True)
    else:
        # also for pretrained=False, whose sizes would have to be fetched
        stand_in("bert-base-uncased", lambda **_: bert_base(), fresh=True)
        stand_in("resnet50", lambda: image_encoder("resnet50", pretrained=False))


def bert_base():
    """A ``TextEncoder`` of 12 layers × 768 with fresh weights and a tokenizer of 30,522 pieces."""
    from transformers import BertConfig, BertModel

    from cmlib.encoders.text import Bert

    return Bert(BertModel(BertConfig(vocab_size=VOCABULARY), add_pooling_layer=False), tokenizer())


def tokenizer():
    """BERT's own where its vocabulary can be had, else the course's pieces, filled up to as many."""
    from transformers import BertTokenizer

    from cmlib.datasets import fetch
    from cmlib.encoders.tokenizer import mini_tokenizer

    try:
        pieces = fetch("bert-vocab").read_text("utf-8").splitlines()
    except OSError:
        known = mini_tokenizer().get_vocab()
        pieces = sorted(known, key=known.get)
        pieces += [f"[unused{i}]" for i in range(VOCABULARY - len(pieces))]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512)
