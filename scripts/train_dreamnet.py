"""Train dreamnet, the embedded network, as a student of BVLC GoogLeNet.

    python scripts/train_dreamnet.py --pictures PACK_OR_FOLDER --teacher FILE --minutes 90
    python scripts/judge_dreamnet.py --teacher FILE --photos FOLDER --card docs/dreamnet.md

The student begins as its teacher, slimmed (`dreamnet_slim.py`). A dream follows the gradient of a
layer's mean square with respect to the picture. So this is what the student learns: to point where
the teacher's gradient points (Sobolev training: Czarnecki et al. 2017), on photos and on pictures
that its own dreams are made of; and, beside it, the teacher's activations, through linear adapters
that are thrown away.

The run ends after --minutes of training (pauses do not count) with its learning rate annealed. It
saves often, goes on from its last save when started again, logs JSON lines, and in the end writes
the weights and the card.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dreamnet_card import write_card
from dreamnet_pictures import DreamPool, load_pictures, noise_picture, photo_batch
from dreamnet_slim import Slimmer
from dreamnet_student import (
    NAMES,
    Teacher,
    activation_loss,
    activations,
    direction_loss,
    fit_adapters,
    smooth,
    student_view,
    trainable,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.engine.dreamnet import WEIGHTS, DreamNet
from pipeline.weights import load_state

DATA = "Caltech-101 (CC BY 4.0) and TensorFlow flower photos (CC BY 2.0)"
TEACHER = "BVLC GoogLeNet (Caffe model zoo; released for unrestricted use)"
SLIMMED = "the teacher, slimmed in closed form (`scripts/dreamnet_slim.py`)"
DTYPE = torch.bfloat16
# The layer whose direction a step trains: shares in the order of NAMES. Deep ones are hardest.
LAYER_SHARES = (0.0, 0.05, 0.1, 0.2, 0.22, 0.43)
SIGMAS = (1.2, 1.8, 2.5)  # of the smoothing, over the three steps of a zoom's octave
EMA = 0.998
WARM_UP = 0.02  # share of the run
SLOWEST_STEP = 5.0  # seconds that count at most: a suspended process does not use up its time


@dataclass(frozen=True)
class Knobs:
    """What a run is made of beside its data."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    clip: float = 5.0
    pixels: int = 250_000  # of a batch, whatever its pictures' size
    survey: int = 400  # visits of the pool under the teacher before it is slimmed
    pool_share: float = 0.6  # of the steps; the others are photos
    direction: float = 2.0  # weight of the direction's loss ...
    coarse: float = 0.5  # ... and in it, of the direction at a quarter of the size
    activation: float = 0.3  # weight of the activations' loss


class Run:
    """Everything that changes while training, and how it is saved."""

    def __init__(self, args: argparse.Namespace, knobs: Knobs, checkpoint: Path) -> None:
        self.knobs = knobs
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.rng = np.random.default_rng(args.seed)
        torch.manual_seed(args.seed)
        self.pictures = load_pictures(args.pictures)
        self.teacher = Teacher(load_state(args.teacher), self.device, DTYPE)
        self.pool = DreamPool(len(NAMES), self.pictures, seed=args.seed)
        self.net = DreamNet()
        if args.init is not None:
            state = load_state(args.init)
            self.net.load_state_dict({key: value.float() for key, value in state.items()})
        elif not checkpoint.exists():
            self.net = Slimmer(load_state(args.teacher), self._survey())()
        trainable(self.net.to(self.device, memory_format=torch.channels_last))
        self.average = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        if checkpoint.exists():
            self._restore(checkpoint)
        else:
            self._adapt(*fit_adapters(self._both() for _ in range(12)))

    def _survey(self) -> Tensor:
        """Gather what the teacher is slimmed on: photos, noise, and the pool after some dreaming.

        Returns:
            float32 [N, 3, side, side], shuffled.
        """
        for _ in range(self.knobs.survey):
            layer = int(self.rng.integers(1, len(NAMES)))
            visit = self.pool.visit(layer, self.knobs.pixels)
            _, gradient = self.teacher(visit.pictures.to(self.device), layer)
            direction = smooth(gradient, SIGMAS[1]).cpu()
            self.pool.advance(visit, direction, direction)
        dreams = self.pool.pictures
        side = dreams.shape[2]
        generator = torch.Generator().manual_seed(int(self.rng.integers(1 << 31)))
        count = 3 * self.knobs.survey // 10
        noise = [noise_picture(side, side, generator, soft=k % 2 == 1) for k in range(count)]
        photos = photo_batch(self.pictures, 9 * self.knobs.survey // 4, side, self.rng)
        together = torch.cat((photos, dreams, dreams.flip(3), torch.stack(noise)))
        return together[torch.randperm(len(together), generator=generator)]

    def _adapt(self, adapters: list[nn.Conv2d], scales: list[Tensor]) -> None:
        self.adapters, self.scales = nn.ModuleList(adapters).to(self.device), scales
        self.parameters = [*self.net.parameters(), *self.adapters.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.knobs.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.knobs.weight_decay,
        )

    def _both(self) -> tuple[list[Tensor], list[Tensor]]:
        photos = photo_batch(self.pictures, 20, 112, self.rng).to(self.device)
        x = ((photos - 0.5) * 4).to(DTYPE, memory_format=torch.channels_last)
        deepest = len(NAMES) - 1
        return activations(self.net, x, deepest), self.teacher(photos, deepest)[0]

    def train_step(self, progress: float) -> dict[str, object]:
        """Take one step; returns what to log."""
        knobs, rng = self.knobs, self.rng
        warm = min(1.0, progress / WARM_UP + 0.01)
        rate = knobs.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        deepest = int(rng.choice(len(NAMES), p=LAYER_SHARES))
        sigma = float(rng.choice(SIGMAS))
        visit = None
        if rng.random() < knobs.pool_share:
            visit = self.pool.visit(deepest, knobs.pixels)
            pictures = visit.pictures.to(self.device)
        else:
            side = int(rng.choice((96, 112, 144)))
            pictures = photo_batch(self.pictures, knobs.pixels // side**2, side, rng)
            generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
            for k in range(len(pictures) // 6):  # beginnings of dreams
                noise = noise_picture(side, side, generator, soft=k % 2 == 1)
                pictures[k] = (noise - 0.5) * float(rng.uniform(0.3, 1.5)) + 0.5
            pictures = pictures.clamp(0, 1).to(self.device)

        seen, target = self.teacher(pictures, deepest)
        found, gradient = student_view(self.net, pictures, deepest, DTYPE)
        target, gradient = smooth(target, sigma), smooth(gradient, sigma)
        pointing, cosine = direction_loss(gradient, target, coarse=knobs.coarse)
        adapted = [
            F.conv2d(s, a.weight.to(DTYPE), a.bias.to(DTYPE))
            for s, a in zip(found, self.adapters, strict=False)
        ]
        matching, errors = activation_loss(adapted, seen, self.scales)
        loss = knobs.direction * pointing + knobs.activation * matching

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, knobs.clip)
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            self.net.norm1.gamma.clamp_min_(0)
        decay = min(EMA, self.step / (self.step + 10))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)
        if visit is not None:
            self.pool.advance(visit, gradient.detach().cpu(), target.cpu())
        return {
            "layer": NAMES[deepest],
            "pool": visit is not None,
            "cosine": round(cosine.item(), 4),
            "loss": round(loss.item(), 4),
            "norm": round(norm.item(), 3),
            "errors": [round(e, 4) for e in errors],
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one is there until the new one is complete."""
        partial = path.with_suffix(".partial")
        state = {
            "net": self.net.state_dict(),
            "adapters": self.adapters.state_dict(),
            "scales": self.scales,
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "pool": self.pool.state(),
            "rng": self.rng.bit_generator.state,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, partial)
        partial.replace(path)

    def _restore(self, path: Path) -> None:
        # Our own file, with generators' states in it, which the weights-only reader refuses.
        state = torch.load(path, map_location=self.device, weights_only=False)
        self.net.load_state_dict(state["net"])
        shapes = [state["adapters"][f"{k}.weight"].shape for k in range(len(NAMES))]
        self._adapt([nn.Conv2d(shape[1], shape[0], 1) for shape in shapes], state["scales"])
        self.adapters.load_state_dict(state["adapters"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.pool.restore(state["pool"])
        self.rng.bit_generator.state = state["rng"]
        self.step, self.seconds = state["step"], state["seconds"]

    def export(self, path: Path, made: dict[str, str] | None = None) -> None:
        """Write the averaged weights as the package ships them: float16, without adapters.

        Args:
            path: where to.
            made: how they came about, for the card; kept in the file.
        """
        tensors = {k: v.half().cpu().contiguous() for k, v in self.average.items()}
        save_file(tensors, path, made and {"made": json.dumps(made)})


def how_it_was_made(args: argparse.Namespace, run: Run, log: Path) -> dict[str, str]:
    """Collect what the card tells of a run; the losses are means over its last tenth."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    last = [e for e in entries if e["step"] > 0.9 * run.step]
    cosines = {
        kind: ", ".join(
            f"{np.mean([e['cosine'] for e in chosen]):.2f}"
            for name, share in zip(NAMES, LAYER_SHARES, strict=True)
            if share and (chosen := [e for e in last if e["layer"] == name and e["pool"] is pool])
        )
        for kind, pool in (("photos", False), ("pool", True))
    }
    full = [e["errors"] for e in last if len(e["errors"]) == len(NAMES) and not e["pool"]]
    errors = ", ".join(f"{error:.2f}" for error in np.mean(full, axis=0)) if full else "not logged"
    digest = hashlib.sha256(args.teacher.read_bytes()).hexdigest()
    return {
        "pictures": f"{len(run.pictures):,}; {args.data}",
        "teacher": f"{args.teacher_name}; sha256 `{digest}`",
        "licence": args.licence,
        "started from": args.history if args.init else SLIMMED,
        "training": f"{run.step:,} steps of {run.knobs.pixels:,} pixels in "
        f"{run.seconds / 60:.0f} minutes ({run.seconds / run.step:.2f} s/it, {run.device.type}), "
        f"seed {args.seed}",
        "knobs": ", ".join(f"{name} {value:g}" for name, value in vars(run.knobs).items()),
        f"loss: direction (cosine; {', '.join(NAMES[1:])})": f"photos {cosines['photos']}; "
        f"pool {cosines['pool']}",
        f"loss: activations on photos ({', '.join(NAMES)})": errors,
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True, help="a folder or a pack")
    parser.add_argument("--teacher", type=Path, required=True, help="BVLC GoogLeNet's weights")
    parser.add_argument("--minutes", type=float, default=90.0, help="of training, pauses apart")
    parser.add_argument(
        "--init", type=Path, help="weights to start from, instead of the slimmed teacher"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--card", type=Path, default=Path("docs/dreamnet.md"))
    parser.add_argument("--work", type=Path, default=Path("outputs/dreamnet"), help="saves and log")
    parser.add_argument("--save-every", type=float, default=3.0, help="minutes")
    parser.add_argument("--keep-every", type=float, default=10.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.add_argument_group("words for the card")
    words.add_argument("--data", default=DATA, help="the pictures' source and licence")
    words.add_argument("--teacher-name", default=TEACHER)
    words.add_argument("--licence", default="MIT (the weights); attribution as above")
    words.add_argument("--history", default="earlier weights", help="where --init came from")
    knobs = parser.add_argument_group("knobs")
    for name, value in vars(Knobs()).items():
        knobs.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def main() -> None:
    """Train until the time is used up."""
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, log_path = args.work / "checkpoint.pt", args.work / "log.jsonl"
    run = Run(args, Knobs(**{name: getattr(args, name) for name in vars(Knobs())}), checkpoint)
    if run.step:
        print(f"going on from step {run.step}, {run.seconds / 60:.1f} minutes done")
    budget, saved = 60 * args.minutes, run.seconds
    keep = 60 * args.keep_every
    bar = tqdm(total=round(budget), initial=round(run.seconds), unit="s", mininterval=30)
    stopped: list[int] = []
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda number, _: stopped.append(number))
    with log_path.open("a", buffering=1, encoding="utf-8", newline="\n") as log:
        while run.seconds < budget and not stopped:
            started = time.monotonic()
            facts = run.train_step(run.seconds / budget)
            spent = min(time.monotonic() - started, SLOWEST_STEP)
            run.seconds += spent
            bar.update(spent)
            bar.set_postfix_str(f"{run.seconds / run.step:.3f} s/it", refresh=False)
            log.write(json.dumps({"step": run.step, "seconds": round(run.seconds, 1), **facts}))
            log.write("\n")
            if run.seconds - saved > 60 * args.save_every or run.seconds >= budget or stopped:
                run.save(checkpoint)
                if run.seconds // keep > saved // keep:
                    run.export(args.work / f"step_{run.step}.safetensors")
                saved = run.seconds
    if stopped:
        print(f"saved at step {run.step}; the same command goes on from there")
        return
    run.export(args.out, how_it_was_made(args, run, log_path))
    write_card(args.card, args.out, {})
    print(f"{run.step} steps, {run.seconds / run.step:.3f} s/it -> {args.out}, {args.card}")


if __name__ == "__main__":
    main()
