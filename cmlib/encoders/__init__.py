"""Encoders by name: words → features, pixels → features."""

from cmlib.encoders.attributes import judge
from cmlib.encoders.image import ImageEncoder, image_encoder
from cmlib.encoders.stand_ins import stand_in
from cmlib.encoders.text import TextEncoder, text_encoder

__all__ = ["ImageEncoder", "TextEncoder", "image_encoder", "judge", "stand_in", "text_encoder"]
