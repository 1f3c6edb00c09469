"""The commands. With `terminal` and `cli_sheets` the only place that prints or knows argparse."""

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline import cli_sheets
from pipeline.errors import ConfigError, PipelineError
from pipeline.terminal import (
    OUTPUTS,
    escape_what_cannot_be_shown,
    rendered,
    show_paths,
)

_TERMINATED = 128 + signal.SIGTERM
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 2 for a wrong configuration, 1 for a failed run, 130 for Ctrl-C, 143 for SIGTERM.
    """
    options = _parsed(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    escape_what_cannot_be_shown()
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except PipelineError as error:
        if options.verbose:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return _INTERRUPTED
    except _Terminated:
        print("terminated; the same command continues", file=sys.stderr)
        return _TERMINATED
    except BrokenPipeError:  # `dream layers vgg16 | head`
        sys.stderr.close()
        return 1
    except Exception as error:
        if options.verbose:
            raise
        print(f"{type(error).__name__}: {error} (a bug; -v shows where)", file=sys.stderr)
        return 1
    return 0


class _Terminated(BaseException):
    """SIGTERM, as an exception: what was dreamed is still stored on the way out."""


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise _Terminated


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse; `key=value` may stand before and after options, which argparse alone cannot."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    overrides = getattr(options, "overrides", None)
    if rest and (overrides is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if overrides is not None:
        overrides.extend(rest)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dream", description="DeepDream animation.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace], None], help: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=help, description=help)
        sub.set_defaults(command=command)
        return sub

    render = add("render", _render, "render a config, or continue it where it stopped")
    render.add_argument("config", metavar="CONFIG", help="a YAML file")
    render.add_argument("overrides", metavar="key=value", nargs="*", help="such as dream.step=0.01")
    render.add_argument(
        "--input", metavar="FILE", help="dream this file: source.path=FILE, rendered as NAME-FILE"
    )
    render.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")
    render.add_argument("--preview", action="store_true", help="small and short, as NAME-preview")
    render.add_argument("--overwrite", action="store_true", help="start again")
    encode = add("encode", _encode, "make the outputs of a finished render again")
    encode.add_argument("name", metavar="NAME", help="of a render, or its folder")
    encode.add_argument(
        "overrides", metavar="key=value", nargs="*", help="such as outputs.1.width=320"
    )
    gif = add("gif", _gif, "make a README-sized GIF of a video file as it is")
    gif.add_argument("input", metavar="INPUT", help="a video file")
    gif.add_argument("output", metavar="OUTPUT", nargs="?", help="default: outputs/INPUT.gif")
    gif.add_argument("--width", type=int, default=480, help="pixels (480)")
    gif.add_argument("--start", type=float, default=0.0, help="seconds (0)")
    gif.add_argument("--seconds", type=float, default=6.0, help="how long (6)")
    gif.add_argument("--max-mb", type=float, default=10.0, help="largest file, megabytes (10)")
    cli_sheets.add_commands(add)
    add("models", _models, "list the networks")
    layers = add("layers", _layers, "list a network's layers")
    layers.add_argument("model", metavar="MODEL")
    classes = add("classes", _classes, "list the classes of ImageNet for dream.classes")
    classes.add_argument("text", metavar="TEXT", nargs="?", default="", help="only with this in it")
    add("schema", _schema, "print the JSON schema of the config")
    add("doctor", _doctor, "show what this machine has, and what auto means here")
    return parser


def _render(options: argparse.Namespace) -> None:
    from pipeline.config import load_config, preview

    config = load_config(options.config, options.overrides)
    if options.input:
        from pipeline.recipes import file_stem

        theirs = [f"source.path={options.input}", f"name={config.name}-{file_stem(options.input)}"]
        config = load_config(options.config, [*options.overrides, *theirs])
    if options.preview:
        config = preview(config)
    if options.dry_run:
        from pipeline.dryrun import dry_run

        print("\n".join(dry_run(config, OUTPUTS)))
        return
    rendered(config, options.overwrite)


def _encode(options: argparse.Namespace) -> None:
    from pipeline.config import config_from
    from pipeline.manifest import recorded_config
    from pipeline.renderer import Listener, encode

    folder = Path(options.name)
    if not (folder / "manifest.json").exists():
        folder = OUTPUTS / options.name
    config = config_from(recorded_config(folder), options.overrides, name=str(folder))
    listener = Listener(notice=lambda line: print(line, file=sys.stderr))
    show_paths(encode(config, root=folder.parent, listener=listener).outputs)


def _gif(options: argparse.Namespace) -> None:
    from pipeline.media.convert import convert_to_gif

    source = Path(options.input)
    target = Path(options.output) if options.output else OUTPUTS / f"{source.stem}.gif"
    facts = convert_to_gif(
        source,
        target,
        width=options.width,
        start=options.start,
        seconds=options.seconds,
        max_mb=options.max_mb,
    )
    print(
        f"{facts.path}  {facts.width}x{facts.height}, {facts.frames} frames at "
        f"{float(facts.fps):g} fps, {facts.bytes / 1e6:.1f} MB"
    )


def _models(_: argparse.Namespace) -> None:
    from pipeline.engine.networks import MODELS

    for spec in MODELS.values():
        where = "embedded" if spec.embedded else "torchvision hub" if spec.hub else "local file"
        print(f"{spec.name:20s} {spec.default_layer:14s} {where:16s} {spec.source}, {spec.licence}")


def _layers(options: argparse.Namespace) -> None:
    from pipeline.engine.layers import layers

    rows = layers(options.model)
    width = max(len(layer.name) for layer in rows)
    print(f"{'layer':{width}s} {'channels':>8s} {'stride':>6s} {'smallest':>8s}  also called")
    for layer in rows:
        print(
            f"{layer.name:{width}s} {layer.channels:8d} {layer.stride:6d} {layer.smallest:8d}  "
            f"{', '.join(layer.aliases)}"
        )


def _classes(options: argparse.Namespace) -> None:
    from pipeline.engine.classes import imagenet

    for index, name in enumerate(imagenet()):
        if options.text.lower() in name.lower():
            print(f"{index:4d}  {name}")


def _schema(_: argparse.Namespace) -> None:
    from pipeline.config import json_schema

    print(json.dumps(json_schema(), indent=2))


def _doctor(_: argparse.Namespace) -> None:
    from pipeline.doctor import report

    for line in report():
        print(line)


if __name__ == "__main__":
    sys.exit(main())
