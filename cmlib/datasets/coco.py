"""COCO's captions, in their official JSON, as a table that ``folder`` reads."""

from __future__ import annotations

import json
from pathlib import Path


def coco_table(annotations: str | Path, table: str | Path) -> Path:
    """Write the captions of a COCO file as JSON lines, one a caption: {"image": file name, "text": caption};
    then ``folder(table, label=None, root=…)`` gives Pairs, five rows to a picture or so, which share it.

    annotations : such as captions_val2017.json, with "images" (id, file_name) and "annotations" (image_id,
        caption); table : the file to be written, which ends in .jsonl
    ValueError, in one sentence, for a file that is another thing, a caption of no picture, an empty caption.
    """
    annotations, table = Path(annotations), Path(table)
    try:
        content = json.loads(annotations.read_text("utf-8"))
        names = {one["id"]: one["file_name"] for one in content["images"]}
        found = [(one["image_id"], " ".join(one["caption"].split())) for one in content["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{annotations.name} is no file of COCO captions ({type(error).__name__}: {str(error)[:60]}): it "
            'needs "images" with "id" and "file_name", and "annotations" with "image_id" and "caption", as '
            "captions_val2017.json has them."
        ) from None
    for place, (image, caption) in enumerate(found):
        if image not in names:
            raise ValueError(f"{annotations.name}: caption {place} is of image_id {image}, and no such "
                             "picture is among its images: the file is cut, or two files were mixed.")
        if not caption:
            raise ValueError(f"{annotations.name}: caption {place}, of {names[image]}, is empty: leave it "
                             "out.")
    rows = (json.dumps({"image": names[image], "text": caption}) for image, caption in found)
    table.write_text("\n".join(rows) + "\n", "utf-8")
    return table
