from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.errors import ConfigError

Load = Callable[..., Config]
Lines = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load YAML text, in a file called render.yaml, with overrides."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str | bytes, *overrides: str) -> Config:
        content = text if isinstance(text, bytes) else text.encode()
        Path("render.yaml").write_bytes(content)
        return load_config("render.yaml", overrides)

    return load_text


@pytest.fixture
def complaints(load: Load) -> Lines:
    """Load YAML text that is wrong and return the lines of the error."""

    def lines(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(text, *overrides)
        return str(error.value).splitlines()

    return lines
