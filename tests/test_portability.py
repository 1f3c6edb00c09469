"""What one system has and another lacks: found here, on whichever system the tests run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OURS = sorted(
    path for folder in ("pipeline", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")
)

# Imports every module of a folder with what only Unix has hidden from ours, though not from the
# packages that we use: those have other ways where it is missing, which they take by the system.
IMPORT_ALL = """
import importlib, sys
from pathlib import Path

HIDDEN = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
root, folder = Path(sys.argv[1]), sys.argv[2]

class Hide:
    def find_spec(self, name, path=None, target=None):
        importer = sys._getframe(1)
        while "importlib" in importer.f_code.co_filename:
            importer = importer.f_back
        if name in HIDDEN and Path(importer.f_code.co_filename).is_relative_to(root):
            raise ImportError(f"there is no {name} on Windows")

for name in HIDDEN:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hide())
sys.path[:0] = [str(root), str(root / "scripts")]
files = sorted((root / folder).rglob("*.py"))
for file in files:
    for name in HIDDEN:  # what another package has imported since
        sys.modules.pop(name, None)
    parts = file.relative_to(root).with_suffix("").parts
    name = parts[-1] if folder == "scripts" else ".".join(parts).removesuffix(".__init__")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "triton":  # which there is on Linux only
            raise
print(len(files))
"""


@pytest.mark.parametrize("folder", ["pipeline", "scripts"])
def test_every_module_is_imported_where_unix_is_not(folder):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(ROOT), folder],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list((ROOT / folder).rglob("*.py")))


def _without_encoding(code: str) -> Iterator[str]:
    """Every call that opens a text, or talks with a process in text, in whatever encoding."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        called = ast.unparse(node.func)
        owner, _, method = called.rpartition(".")
        if method in ("read_text", "write_text"):
            text = True
        elif method in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
            place = 0 if method == "open" and owner else 1
            given = [named["mode"]] if "mode" in named else node.args[place : place + 1]
            mode = "".join(map(ast.unparse, given))
            # Image.open and Manifest.open open something else.
            text = not owner[:1].isupper() and "b" not in mode
        else:
            text = method in ("run", "Popen", "check_output") and "text" in named
        if text and "encoding" not in named:
            yield f"line {node.lineno}: {called}"


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_gives_its_encoding(path):
    """On Windows the default is that of the country."""
    assert list(_without_encoding(path.read_text(encoding="utf-8"))) == []


def test_a_text_without_its_encoding_is_found():
    for code in ("open(x)", "p.open('a')", "p.read_text()", "run(c, text=True)", "open(x, 'w')"):
        assert list(_without_encoding(code))
    for code in ("open(x, 'rb')", "p.open('wb')", "Image.open(p)", "run(c)", "p.read_bytes()"):
        assert not list(_without_encoding(code))
