import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import yaml

from pipeline import cli
from pipeline.engine import capabilities

ROOT = Path(__file__).parent.parent
TINY = {
    "name": "tiny",
    "source": {"kind": "noise", "size": [64, 48], "frames": 5, "fps": 24},
    "feedback": {"kind": "camera", "zoom": 2.0, "iterations": 1, "keyframe_every": 2},
    "dream": {"layers": "mixed3b", "octaves": 2, "iterations": 2},
    "outputs": [{"kind": "gif", "width": 32}],
}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return "tiny.yaml"


def dream(*arguments: str, cwd: Path, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
        **more,
    )


def test_render_prints_the_output_paths(tiny, capsys):
    assert cli.main(["render", tiny, "name=other"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("outputs/other/other.gif")
    assert "dreaming with dreamnet on" in err
    assert cli.main(["render", tiny, "name=other"]) == 0
    assert "already finished" in capsys.readouterr().out


def test_encode_makes_outputs_again_by_name_or_folder(tiny, capsys):
    assert cli.main(["render", tiny]) == 0
    path = Path("outputs/tiny/tiny.gif")
    path.unlink()
    assert cli.main(["encode", "tiny"]) == 0
    assert path.exists()
    assert cli.main(["encode", "outputs/tiny", "outputs.0.width=24"]) == 0
    assert cli.main(["encode", "nothing"]) == 1
    assert "there is no render in outputs/nothing" in capsys.readouterr().err


def test_a_wrong_config_exits_with_2_and_every_error(tiny, capsys):
    Path("bad.yaml").write_text(
        "name: bad\nsource: {kind: noise, sise: [64, 48]}\ndream: {step: x}\n", encoding="utf-8"
    )
    assert cli.main(["render", "bad.yaml"]) == 2
    err = capsys.readouterr().err
    assert "bad.yaml:2" in err
    assert 'Did you mean "size"?' in err
    assert "bad.yaml:3" in err
    assert "Traceback" not in err


def test_a_failed_run_exits_with_1_and_one_line(tiny, capsys):
    assert cli.main(["render", tiny, "source={kind: image, path: gone.jpg}"]) == 1
    err = capsys.readouterr().err
    assert err.strip() == "gone.jpg: no such file"


def test_dry_run_needs_no_torch_and_writes_nothing(tiny, tmp_path):
    code = (
        "import sys; from pipeline import cli; code = cli.main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "render", tiny, "--dry-run"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for expected in ("5 frames", "3 dreamed, 2 filled", "46x34, 64x48", "tiny.gif", "device auto"):
        assert expected in done.stdout
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "command", [["models"], ["layers", "vgg16"], ["classes", "snake"], ["schema"]]
)
def test_lists_need_no_torch(command):
    code = (
        "import sys; from pipeline import cli; code = cli.main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "models": "bvlc_googlenet",
        "layers": "relu4_3",
        "classes": "  55  green snake\n",
        "schema": '"properties"',
    }
    assert expected[command[0]] in done.stdout


def test_schema_is_json(capsys):
    assert cli.main(["schema"]) == 0
    assert "dream" in json.loads(capsys.readouterr().out)["properties"]


def test_an_unknown_model_gets_a_suggestion(capsys):
    assert cli.main(["layers", "vgg_16"]) == 2
    assert 'Did you mean "vgg16"?' in capsys.readouterr().err


def test_preview_goes_into_its_own_folder(tiny, capsys):
    assert cli.main(["render", tiny, "--preview"]) == 0
    assert capsys.readouterr().out.startswith("outputs/tiny-preview/")
    assert not Path("outputs/tiny").exists()


def test_a_path_that_the_console_has_no_letters_for_is_shown_escaped(tiny, monkeypatch):
    assert cli.main(["render", tiny, "outputs=[mp4]"]) == 0
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", console)
        assert cli.main(["gif", "outputs/tiny/tiny.mp4", "夢.gif", "--width", "32"]) == 0
    console.flush()
    assert console.buffer.getvalue().startswith(b"\\u5922.gif  32x24")


def test_doctor_describes_the_machine(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    lines = {line.partition(" ")[0]: line for line in out.splitlines()}
    assert f"opencv {cv2.__version__}" in lines["packages"]  # whatever pip calls it
    assert f"{capabilities.threads()} threads" in lines["cpu"]
    assert capabilities.kernels() in lines["kernels"]
    for precision in ("bf16", "fp16"):
        dtype = capabilities.DTYPES[precision]
        told = capabilities.cost(dtype, "cpu") or f"{precision} is faster than fp32"
        assert told in lines["half"]
    assert "dreaming with dreamnet" in lines["dream"]
    assert "mp4, webm, webp, gif work" in lines["ffmpeg"]


def test_doctor_says_why_the_gradient_is_autograds(monkeypatch, capsys):
    monkeypatch.setattr(capabilities, "has_convolution", lambda dtype: False)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "in fp32 (autograd gradient, " in out
    assert "autograd, because oneDNN has no convolution in fp32 on this CPU" in out


@pytest.mark.unix
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_render_says_so_and_continues(tiny, tmp_path, sent, code):
    arguments = ["render", tiny, "source.frames=400", "-v"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell starts what runs in its background deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    frames = tmp_path / "outputs/tiny/frames"
    while not (frames / "000004.png").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "the same command continues" in err
    assert "Traceback" not in err
    assert not list(frames.glob("*.partial*"))


def test_gif_of_a_video_file(tiny, capsys):
    assert cli.main(["render", tiny, "outputs=[mp4]"]) == 0
    assert cli.main(["gif", "outputs/tiny/tiny.mp4", "--width", "32"]) == 0
    assert "outputs/tiny.gif  32x24, " in capsys.readouterr().out
    assert cli.main(["gif", "tiny.yaml"]) == 1
    assert "tiny.yaml" in capsys.readouterr().err


def test_overrides_may_follow_options(tiny, capsys):
    assert cli.main(["render", tiny, "--dry-run", "source.frames=7", "seed=2"]) == 0
    assert "7 frames" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.main(["render", tiny, "--dry-rum"])
    with pytest.raises(SystemExit, match="2"):
        cli.main(["doctor", "seed=2"])


def test_an_input_names_its_own_render(tiny, tmp_path, capsys):
    assert cli.main(["render", tiny, "outputs=[mp4]"]) == 0
    shutil.copy("outputs/tiny/tiny.mp4", "-my clip.mp4")
    flow = ["feedback=flow", "source={kind: video, path: x.mp4}", "dream.layers=mixed3b"]
    assert cli.main(["render", tiny, *flow, "--input=-my clip.mp4"]) == 0
    assert Path("outputs/tiny--my_clip/tiny--my_clip.gif").exists()


@pytest.mark.unix
@pytest.mark.parametrize("given", ["environment", "command line"])
def test_make_hands_paths_over_unparsed(tmp_path, given):
    """A path with spaces, quotes and a dollar reaches the command as it is."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    tool = venv / "bin/dream"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$SEEN"\n', encoding="utf-8")
    tool.chmod(0o755)
    (venv / ".ready").touch()
    name = "a b\"c'd $HOME;$(id).yaml"
    seen = tmp_path / "seen"
    here = given == "environment"
    subprocess.run(
        [
            "make",
            "-s",
            "-C",
            str(ROOT),
            "zoom",
            f"VENV={venv}",
            *([] if here else [f"CONFIG={name}"]),
        ],
        env=os.environ | {"SEEN": str(seen)} | ({"CONFIG": name} if here else {}),
        check=True,
    )
    assert seen.read_text(encoding="utf-8").splitlines() == ["render", name]
