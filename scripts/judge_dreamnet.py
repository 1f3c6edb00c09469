"""Judge dreamnet by its dreams, as its teacher sees them.

    python scripts/judge_dreamnet.py --teacher FILE --photos FOLDER --out FOLDER [--card FILE]

Writes numbers.json (and the card), and PNG contact sheets: zooms from soft and white noise
(`zoom_<layer>.png`, frames across, noises down) and every layer on every photo (`photos.png`).

- Direction: cosine between the student's and the teacher's smoothed gradients of the mean square of
  the same layer, on photos, on noise, and on frames of dreams.
- Zoom: the teacher's inception_4c mean square, and its channel variety (the exponential of the
  entropy of the channels' shares of it), over frames 20, 30, ... 80 of a student's zoom.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from dreamnet_card import write_card
from dreamnet_pictures import noise_picture
from dreamnet_student import LAYERS
from torch import Tensor

from pipeline.engine.ascent import StepSettings, smooth
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.dreamnet import WEIGHTS
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.networks import Network, build, truncate
from pipeline.engine.objectives import Term
from pipeline.feedback.camera import warp
from pipeline.weights import load_state

WIDTH, HEIGHT = 320, 180
FRAMES = 90
JUDGED = range(20, 81, 10)
DREAMED = tuple(name for name in LAYERS if name != "conv2")
NOISES = ("soft", "white")


def dreamer(network: Network, layer: str, dtype: torch.dtype) -> Dreamer:
    """Return the dreamer of the measurements: 3 octaves x 1.4, cascade smoothing."""
    return Dreamer(network, [Term(layer)], octaves=3, ratio=1.4, smoothing="cascade", dtype=dtype)


def settings(step: float) -> StepSettings:
    """Return the settings of the measurements for a step in 1/255."""
    return StepSettings(step=step / 255, jitter=16, sigma=0.5, weights=(1.0,))


def zoom(dream: Dreamer, starts: Tensor, *, zoom_by: float = 1.03, frames: int = FRAMES) -> Tensor:
    """Dream zoom videos: 20 steps for the first frame, then 3 for each.

    Args:
        dream: from `dreamer`.
        starts: float32 [N, 3, H, W], one lane each.
        zoom_by: per frame.
        frames: how many.

    Returns:
        uint8 [frames, N, H, W, 3].
    """
    n, _, height, width = starts.shape
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, 0.0, zoom_by)
    pictures, film = starts, []
    for frame in range(frames):
        if frame:
            lanes = torch.from_numpy(film[-1]).permute(0, 3, 1, 2).float() / 255
            pictures = torch.stack([warp(lane, matrix) for lane in lanes]).clamp(0, 1)
        dreamed = dream(
            pictures,
            iterations=3 if frame else 20,
            keys=[frame * n + k for k in range(n)],
            settings=[settings(3.0)] * n,
        ).pictures
        film.append((dreamed.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy())
    return torch.from_numpy(np.stack(film))


class Judge:
    """The teacher's view of a picture."""

    def __init__(self, network: Network) -> None:
        self._layer = truncate(network, ["inception_4c"])
        self._mean = torch.tensor(network.mean)[:, None, None]

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> tuple[float, float]:
        """Return mean activation and channel variety over uint8 frames [N, H, W, 3]."""
        x = frames.permute(0, 3, 1, 2).float() / 255 - self._mean
        energy = self._layer(x)[0].square().mean((2, 3))
        shares = energy / energy.sum(1, keepdim=True)
        variety = torch.special.entr(shares).sum(1).exp()
        return energy.mean().item(), variety.mean().item()


def directions(network: Network, layer: str, pictures: Tensor) -> Tensor:
    """Return smoothed dream directions, float32, flat per picture."""
    gradient = ImageGradient(network, [Term(layer)])
    found = [gradient(p[None], torch.ones(1, 1))[0] for p in pictures]
    return smooth(torch.cat(found), "cascade", [1.8] * len(pictures)).flatten(1)


def sheet(rows: list[np.ndarray], path: Path) -> None:
    """Write rows of equally sized RGB pictures, [columns, H, W, 3] each, as one PNG."""
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def photo_tensor(path: Path) -> Tensor:
    """Read a photo, cut to 16:9 and resized to 320 x 180, float32 [3, H, W]."""
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    height, width = picture.shape[:2]
    w, h = min(width, height * 16 // 9), min(height, width * 9 // 16)
    top, left = (height - h) // 2, (width - w) // 2
    cut = picture[top : top + h, left : left + w]
    small = cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)


def measure(
    student: Network,
    teacher: Network,
    photos: Mapping[str, Tensor],
    out: Path,
    *,
    dtype: torch.dtype,
    pairs: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    """Measure and draw every layer.

    Args:
        student: who dreams.
        teacher: who judges.
        photos: by name.
        out: folder for the sheets.
        dtype: precision of the student's dreams.
        pairs: the student's layers and the teacher's of the same place.

    Returns:
        Per layer, the numbers.
    """
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    starts = [noise_picture(HEIGHT, WIDTH, generator, soft=kind == "soft") for kind in NOISES]
    judge = Judge(teacher)
    pictures = torch.stack(list(photos.values()))
    numbers: dict[str, dict[str, float]] = {}
    rows = [(pictures.permute(0, 2, 3, 1) * 255).byte().numpy()]
    for layer, taught in pairs.items():
        dream = dreamer(student, layer, dtype)
        film = zoom(dream, torch.stack(starts))
        sheet(
            [film[[0, 15, 30, 45, 60, 75, 89], k].numpy() for k in range(len(NOISES))],
            out / f"zoom_{layer}.png",
        )
        facts = {}
        for k, kind in enumerate(NOISES):
            facts[f"activation_{kind}"], facts[f"variety_{kind}"] = judge(film[list(JUDGED), k])
        dreams = film[list(JUDGED)].flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        sets = {"photos": pictures, "noise": torch.stack(starts), "dreams": dreams}
        for name, some in sets.items():
            pair = directions(student, layer, some), directions(teacher, taught, some)
            facts[f"cosine_{name}"] = F.cosine_similarity(*pair).mean().item()
        numbers[layer] = {key: round(value, 3) for key, value in facts.items()}
        print(layer, numbers[layer], flush=True)
        still = [
            dream(p[None], iterations=10, keys=[0], settings=[settings(3.0)]).pictures[0]
            for p in pictures
        ]
        rows.append((torch.stack(still).permute(0, 2, 3, 1) * 255).byte().numpy())
    sheet(rows, out / "photos.png")
    (out / "numbers.json").write_text(
        json.dumps(numbers, indent=1) + "\n", encoding="utf-8", newline="\n"
    )
    return numbers


def main() -> None:
    """Measure one set of weights, or the teacher itself."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="BVLC GoogLeNet, .safetensors")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEGs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the student's")
    parser.add_argument("--self", action="store_true", help="let the teacher dream instead")
    parser.add_argument("--layers", nargs="*", default=DREAMED)
    parser.add_argument("--bf16", action="store_true", help="dream in bf16")
    parser.add_argument("--out", type=Path, required=True, help="folder for sheets and numbers")
    parser.add_argument("--card", type=Path, help="the card to write the numbers into")
    parser.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("TITLE", "NUMBERS"),
        help="earlier numbers.json to show in the card as well",
    )
    args = parser.parse_args()
    teacher = build("bvlc_googlenet", load_state(args.teacher))
    pairs = {layer: LAYERS[layer] for layer in args.layers}
    if args.self:
        student, pairs = teacher, {name: name for name in pairs.values()}
    else:
        student = build("dreamnet", load_state(args.weights))
    chosen = ("sky", "dog_1", "city_1", "coral")
    numbers = measure(
        student,
        teacher,
        {name: photo_tensor(args.photos / f"{name}.jpg") for name in chosen},
        args.out,
        dtype=torch.bfloat16 if args.bf16 else torch.float32,
        pairs=pairs,
    )
    if args.card:
        others = {
            title: json.loads(Path(path).read_text(encoding="utf-8")) for title, path in args.beside
        }
        write_card(args.card, args.weights, {"dreamnet": numbers, **others})


if __name__ == "__main__":
    main()
