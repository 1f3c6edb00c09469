from collections.abc import Callable, Iterator
from pathlib import Path

import clips
import pytest

from pipeline.media import program
from pipeline.media.encode import try_encoder
from pipeline.media.facts import Facts
from pipeline.media.ingest import ingest


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A clip of tests/clips.py by name."""
    folder = tmp_path_factory.mktemp("clips")
    return lambda name: clips.make(name, folder)


@pytest.fixture(scope="session")
def ingested(
    clip: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Facts, Path]]:
    """Facts and folder of a clip's ingest, done once."""
    done: dict[str, tuple[Facts, Path]] = {}

    def get(name: str) -> tuple[Facts, Path]:
        if name not in done:
            folder = tmp_path_factory.mktemp("ingest")
            done[name] = ingest(clip(name), folder), folder
        return done[name]

    return get


@pytest.fixture
def use_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path | None], None]]:
    """Take another ffmpeg until the test ends: a program, or None for that of imageio-ffmpeg."""

    def forget() -> None:
        for known in (program.program, program._parts, try_encoder):
            known.cache_clear()

    def use(path: Path | None) -> None:
        if path is None:
            monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
        else:
            monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        forget()

    yield use
    forget()
