"""The card of the embedded network: what it was made from and how, and what it measures.

The facts come from the weight file itself (its sha256, and the metadata that training left in it)
and from `judge_dreamnet.py`. Only the part between two markers is generated; the prose around it
stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open

BEGIN = "<!-- generated: begin -->"
END = "<!-- generated: end -->"
HEADING = "# dreamnet\n\nThe embedded network: a small student of BVLC GoogLeNet.\n\n"

Numbers = Mapping[str, Mapping[str, float]]
_COLUMNS = {
    "cosine_photos": "direction: photos",
    "cosine_noise": "noise",
    "cosine_dreams": "dreams",
    "activation_soft": "activation: soft",
    "activation_white": "white",
    "variety_soft": "variety: soft",
    "variety_white": "white",
}


def facts_block(weights: Path, judged: Mapping[str, Numbers]) -> str:
    """Write the generated part.

    Args:
        weights: the weight file.
        judged: the numbers of `judge_dreamnet.measure`, under the name of who dreamed.

    Returns:
        Markdown, without the markers.
    """
    with safe_open(weights, "pt") as file:
        made = json.loads((file.metadata() or {}).get("made", "{}"))
        count = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    size = f"{weights.stat().st_size:,} bytes"
    made = {
        "file": f"`{weights.name}`, {size}, {count:,} parameters, float16",
        "sha256": f"`{hashlib.sha256(weights.read_bytes()).hexdigest()}`",
        **made,
    }
    lines = ["## How it was made", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in made.items()]
    for name, numbers in judged.items():
        lines += ["", f"## Measured: {name}", "", *_table(numbers)]
    return "\n".join(lines) + "\n"


def write_card(card: Path, weights: Path, judged: Mapping[str, Numbers]) -> None:
    """Put the generated part into the card, which is created if it is not there."""
    text = card.read_text(encoding="utf-8") if card.exists() else f"{HEADING}{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(
        f"{before}{BEGIN}\n\n{facts_block(weights, judged)}\n{END}{after}",
        encoding="utf-8",
        newline="\n",
    )


def _table(numbers: Numbers) -> Iterable[str]:
    present = {
        key: title
        for key, title in _COLUMNS.items()
        if any(key in facts for facts in numbers.values())
    }
    yield f"| layer | {' | '.join(present.values())} |"
    yield "|---|" + "---:|" * len(present)
    for layer, facts in numbers.items():
        cells = [f"{facts[k]:.2f}" if "cosine" in k else f"{facts[k]:.0f}" for k in present]
        yield f"| {layer} | {' | '.join(cells)} |"
