"""Write pipeline/engine/imagenet.json: the names of ImageNet's thousand classes, in order.

    python scripts/make_class_table.py

They are torchvision's, kept as data so that a config is checked without importing torch.
"""

import json

from torchvision.models import AlexNet_Weights

from pipeline.engine.classes import TABLE


def text() -> str:
    """The whole file: JSON, one name per line."""
    return json.dumps(AlexNet_Weights.IMAGENET1K_V1.meta["categories"], indent=0) + "\n"


if __name__ == "__main__":
    TABLE.write_text(text(), encoding="utf-8")
