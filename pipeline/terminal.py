"""What a user at a terminal sees of a render: a bar, notices, and where its outputs are."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.renderer import Listener, Rendered

OUTPUTS = Path("outputs")


def rendered(config: "Config", overwrite: bool) -> "Rendered":
    """Render with a progress bar, and say where the outputs are."""
    from pipeline.renderer import render

    with progress() as listener:
        done = render(config, root=OUTPUTS, overwrite=overwrite, listener=listener)
    if not done.dreamed and not done.encoded:
        print(f"{OUTPUTS / config.name} is already finished (--overwrite starts again)")
    show_paths(done.outputs)
    for note in done.notes:
        print(note, file=sys.stderr)
    return done


def escape_what_cannot_be_shown() -> None:
    """Keep a path that the console has no letters for, on Windows above all, from ending us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def progress() -> Iterator["Listener"]:
    """A bar for one render after the other."""
    from pipeline.renderer import BatchDone, Listener

    with tqdm(unit="frame", dynamic_ncols=True, disable=None) as bar:

        def show(batch: BatchDone) -> None:
            if bar.total != batch.total or bar.n == bar.total or batch.done < bar.n:  # another one
                bar.set_description_str("dreaming")
                bar.reset(batch.total)
                bar.initial = bar.n = batch.done - len(batch.frames)
            bar.update(batch.done - bar.n)
            if batch.iterations:
                bar.set_postfix_str(f"strength {batch.strength:.4g}")

        def read(name: str, done: int, total: int | None) -> None:
            bar.set_description_str(f"reading {name}: {done} of {total or '?'}")

        yield Listener(show, lambda line: bar.write(line, file=sys.stderr), read)


def show_paths(paths: Sequence[Path]) -> None:
    """Print files with their sizes."""
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
