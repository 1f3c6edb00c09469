"""Make the README's pictures with the networks and configs as they are.

    python scripts/readme_media.py              docs/zoom.gif and docs/layers.png
    python scripts/readme_media.py layers       one of them

The zoom is the shipped one, three seconds of it, as a loop; the strip shows where its zoom arrives
at three layers of the embedded network.
"""

import argparse
import shutil
from pathlib import Path

from pipeline import load_config, render
from pipeline.media.contact_sheet import Tile, contact_sheet
from pipeline.media.images import read_picture, write_png

DOCS = Path("docs")
ROOT = Path("outputs/readme")
CONFIG = "configs/noise_zoom.yaml"
LAYERS = ("mixed3a", "mixed4a", "mixed4c")
TILE = 146  # pixels; three of them and the margins are 480
ARRIVED = 60  # the frame shown of every layer's zoom


def zoom() -> Path:
    """Render the shipped zoom as a loop, and keep its GIF."""
    output = "{kind: gif, width: 400, max_fps: 12, max_mb: 3}"
    overrides = ["source.frames=96", "feedback.loop=24", f"outputs=[{output}]", "name=zoom"]
    done = render(load_config(CONFIG, overrides), root=ROOT, overwrite=True)
    return Path(shutil.copy(done.outputs[0], DOCS / "zoom.gif"))


def layers() -> Path:
    """Draw the strip of layers."""
    tiles = []
    for layer in LAYERS:
        overrides = [
            f"name={layer}",
            f"dream.layers={layer}",
            f"source.frames={ARRIVED + 1}",
            "outputs=[{kind: png, frames: last}]",
        ]
        done = render(load_config(CONFIG, overrides), root=ROOT, overwrite=True)
        tiles.append(Tile(read_picture(done.outputs[0]), caption=layer))
    write_png(contact_sheet(tiles, columns=len(tiles), side=TILE), DOCS / "layers.png")
    return DOCS / "layers.png"


def main() -> None:
    """Make what is asked for."""
    makers = {"zoom": zoom, "layers": layers}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", choices=[*makers, []], help="default: all")
    for what in parser.parse_args().what or makers:
        path = makers[what]()
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
