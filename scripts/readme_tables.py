"""Write the generated tables into README.md: the networks and every setting.

python scripts/readme_tables.py
"""

import re
from pathlib import Path

from pipeline.config import config_table
from pipeline.engine.networks import MODELS

README = Path(__file__).parent.parent / "README.md"


def models_table() -> str:
    """Markdown table of the networks."""
    lines = ["| model | default layer | weights | from | licence |", "|---|---|---|---|---|"]
    for spec in MODELS.values():
        where = "embedded" if spec.embedded else "downloaded" if spec.hub else "your file"
        lines.append(
            f"| `{spec.name}` | `{spec.default_layer}` | {where} | {spec.source} | {spec.licence} |"
        )
    return "\n".join(lines)


def with_tables(readme: str) -> str:
    """Replace what stands between the markers.

    Raises:
        ValueError: a marker is missing.
    """
    for name, table in (("models", models_table()), ("config", config_table())):
        begin = f"<!-- {name}: generated -->"
        pattern = re.compile(re.escape(begin) + ".*?<!-- end -->", re.DOTALL)
        if not pattern.search(readme):
            raise ValueError(f"README.md has no {begin} ... <!-- end -->")
        replacement = f"{begin}\n{table.strip()}\n<!-- end -->"
        readme = pattern.sub(lambda _, text=replacement: text, readme)
    return readme


if __name__ == "__main__":
    README.write_text(
        with_tables(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n"
    )
