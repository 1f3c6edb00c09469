from collections.abc import Callable
from pathlib import Path

import clips
import pytest

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
