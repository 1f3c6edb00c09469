"""The blocks of a config but `dream`: what a render starts from, how it is carried and written.

The descriptions are the documentation: the README's table and the JSON schema are made of them.
"""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.checks import Block, whole_or
from pipeline.config.values import (
    Device,
    Fps,
    FrameChoice,
    Moment,
    PathText,
    PathTexts,
    Positive,
    Size,
    file_name,
)
from pipeline.schedule import Schedule

SIZE_WITHIN = "[width, height] to fit within, the aspect kept; null: the picture's own size"
MAX_PIXELS = "refuse a larger picture (width x height) instead of running out of memory"
FPS = "frames per second; 23.976, 29.97 and 59.94 mean the exact NTSC rates, as 30000/1001 does"


class NoiseSource(Block):
    """Noise around grey: a zoom out of nothing."""

    kind: Literal["noise"]
    size: Size = Field((640, 360), description="[width, height] in pixels")
    frames: int = Field(240, ge=1, description="how many frames to render")
    fps: Fps = Field(Fraction(24), description=FPS)
    color: Literal["soft", "white"] = Field(
        "soft", description="soft: blobs of every size; white: every pixel on its own"
    )
    scale: float = Field(
        0.16,
        gt=0,
        le=1,
        description="standard deviation of the noise around .5, of the range [0, 1]",
    )


class ImageSource(Block):
    """One picture: frame 0 of an animation, or a still."""

    kind: Literal["image"]
    path: PathText = Field(description="the picture, relative to the current directory")
    size: Size | None = Field(None, description=SIZE_WITHIN)
    frames: int = Field(1, ge=1, description="how many frames to render")
    fps: Fps = Field(Fraction(24), description=FPS)
    max_pixels: int = Field(50_000_000, ge=256, description=MAX_PIXELS)


class ImagesSource(Block):
    """A folder of pictures, each dreamed on its own."""

    kind: Literal["images"]
    path: PathText = Field(description="a folder or a glob, relative to the current directory")
    size: Size | None = Field(None, description=SIZE_WITHIN)
    fps: Fps = Field(Fraction(1), description="pictures per second where an output is a slide show")
    max_pixels: int = Field(50_000_000, ge=256, description=MAX_PIXELS)


class VideoSource(Block):
    """A video file, or several that are dreamed side by side."""

    kind: Literal["video"]
    path: PathTexts = Field(
        description="a file, a glob or a list of files, relative to the current directory"
    )
    start: float = Field(0.0, ge=0, description="seconds to skip at the beginning")
    frames: int | None = Field(None, ge=1, description="how many frames to take; null: all")
    size: Size | None = Field(None, description=SIZE_WITHIN)
    fps: Fps | None = Field(None, description=f"{FPS}; null: the video's own")
    cuts: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), strict=False, description="frames at which a new shot begins, besides those detected"
    )
    detect_cuts: bool = Field(
        True, description="find the scene cuts; nothing is carried across one"
    )
    max_pixels: int = Field(3840 * 2160, ge=256, description=f"{MAX_PIXELS}, per frame")


class Mask(Block):
    """Where a picture is dreamed (white) and where it stays as it is (black)."""

    path: PathText = Field(
        description="a picture for all frames or a video with one for each, stretched to the frames"
    )
    feather: float = Field(
        8.0, ge=0, le=1000, description="width of the soft edge inside the white, in pixels"
    )
    invert: bool = Field(False, description="dream the black part instead")


class NoFeedback(Block):
    """Every frame is dreamed on its own."""

    kind: Literal["none"]


class CameraFeedback(Block):
    """Every frame continues the one before, seen by a moving camera."""

    kind: Literal["camera"]
    zoom: Positive = Field(Schedule(1.0), description="factor per second; 1: the camera rests")
    rotate: Schedule = Field(Schedule(0.0), description="degrees per second, anticlockwise")
    move: tuple[Schedule, Schedule] = Field(
        (Schedule(0.0), Schedule(0.0)),
        strict=False,
        description="[right, down] in picture widths and heights per second",
    )
    centre: tuple[float, float] = Field(
        (0.5, 0.5), strict=False, description="[x, y] of zoom and rotation, of width and height"
    )
    carry: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the contrast kept per second; below 1 a long zoom does not burn out",
    )
    iterations: int = Field(6, ge=1, description="steps on every keyframe after the first")
    keyframe_every: Annotated[int | Literal["auto"], whole_or("auto", at_least=1)] = Field(
        "auto",
        description="dream every n-th frame and fill the others from both sides; "
        "auto: about 8 dreamed frames a second",
    )
    loop: int = Field(
        0,
        ge=0,
        description="make the outputs repeat without a seam: the last n frames become the first n, "
        "which the outputs leave out; 0: no",
    )


class FlowFeedback(Block):
    """A video's dream is carried along its optical flow."""

    kind: Literal["flow"]
    keyframe_every: int = Field(
        4, ge=1, description="dream every n-th frame and fill the others from both sides"
    )
    iterations: int = Field(3, ge=1, description="steps on every keyframe after a shot's first")
    carry: float = Field(
        0.97, ge=0, le=1, description="share of the detail kept from each frame to the next"
    )
    refine: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 0),
        strict=False,
        description="steps on the frames between keyframes: those in the middle, those in the "
        "middle of the halves, and so on",
    )
    flow: Literal["dis", "raft_small", "raft_large"] = Field(
        "dis", description="how motion is found; RAFT needs its weights"
    )
    flow_weights: PathText | None = Field(
        None, description="weight file for RAFT; null: torchvision's"
    )
    flow_max_pixels: int = Field(
        1_000_000, ge=256, description="compute the flow of larger frames at a smaller size"
    )


class Mp4Output(Block):
    """An H.264 video with the source's sound."""

    kind: Literal["mp4"]
    crf: int = Field(18, ge=0, le=51, description="quality: smaller is better and larger")
    preset: Literal[
        "ultrafast", "superfast", "veryfast", "faster", "fast",
        "medium", "slow", "slower", "veryslow", "placebo",
    ] = Field("medium", description="x264's trade of time for size")  # fmt: skip
    file: Annotated[str | None, file_name(".mp4")] = Field(
        None, description="file name; null: NAME.mp4"
    )


class GifOutput(Block):
    """An animation that plays anywhere."""

    kind: Literal["gif"]
    width: int | None = Field(480, ge=16, description="width in pixels; null: that of the frames")
    start: float = Field(0.0, ge=0, description="seconds to skip at the beginning")
    seconds: float | None = Field(None, gt=0, description="length; null: to the end")
    max_fps: float = Field(
        12.5, gt=0, le=50, description="the frame rate is divided by a whole number to stay below"
    )
    max_mb: float | None = Field(
        10.0, gt=0, description="largest file in megabytes (10^6 bytes); null: any"
    )
    colors: int = Field(256, ge=2, le=256, description="colours per frame")
    file: Annotated[str | None, file_name(".gif")] = Field(
        None, description="file name; null: NAME.gif"
    )


class WebmOutput(Block):
    """A VP9 video with the source's sound as Opus, for browsers."""

    kind: Literal["webm"]
    crf: int = Field(30, ge=0, le=63, description="quality: smaller is better and larger")
    speed: int = Field(2, ge=0, le=5, description="libvpx's trade of size for time: 5 is fastest")
    file: Annotated[str | None, file_name(".webm")] = Field(
        None, description="file name; null: NAME.webm"
    )


class WebpOutput(Block):
    """An animation with a GIF's use, true colours and a fraction of its size."""

    kind: Literal["webp"]
    width: int | None = Field(640, ge=16, description="width in pixels; null: that of the frames")
    start: float = Field(0.0, ge=0, description="seconds to skip at the beginning")
    seconds: float | None = Field(None, gt=0, description="length; null: to the end")
    max_fps: float = Field(
        30.0, gt=0, le=60, description="the frame rate is divided by a whole number to stay below"
    )
    max_mb: float | None = Field(
        10.0, gt=0, description="largest file in megabytes (10^6 bytes); null: any"
    )
    quality: int = Field(75, ge=1, le=100, description="larger is better and larger")
    file: Annotated[str | None, file_name(".webp")] = Field(
        None, description="file name; null: NAME.webp"
    )


class PngOutput(Block):
    """Frames as pictures."""

    kind: Literal["png"]
    frames: FrameChoice = Field("last", description="which frames, counted from 0")
    file: Annotated[str | None, file_name(".png")] = Field(
        None, description="file name, before which frame numbers are put; null: NAME.png"
    )


class PosterOutput(Block):
    """One frame as a picture to show the video by."""

    kind: Literal["poster"]
    at: Moment = Field("middle", description="which frame; a number is seconds")
    file: Annotated[str | None, file_name(".jpg", ".jpeg", ".png")] = Field(
        None, description="file name; null: NAME-poster.jpg"
    )


class SheetOutput(Block):
    """Frames side by side on one contact sheet, each with a caption."""

    kind: Literal["sheet"]
    count: int | None = Field(
        None, ge=1, description="so many frames, evenly spread; null: all of them"
    )
    columns: int | None = Field(None, ge=1, description="of the grid; null: by itself")
    tile: int | None = Field(
        None,
        ge=16,
        description="longer side of a tile in pixels; null: the frames' own, less if there are "
        "very many",
    )
    title: str | None = Field(None, description="above the grid; null: what was dreamed")
    file: Annotated[str | None, file_name(".png", ".jpg", ".jpeg")] = Field(
        None, description="file name; null: NAME-sheet.png"
    )


class MapsOutput(Block):
    """What a layer sees in a frame: the maps of the channels it excites most, on a sheet."""

    kind: Literal["maps"]
    layer: str | None = Field(None, description="whose channels; null: the first of `dream.layers`")
    count: int = Field(24, ge=1, description="how many channels, those excited most first")
    at: Moment = Field("last", description="which frame; a number is seconds")
    columns: int | None = Field(None, ge=1, description="of the grid; null: by itself")
    tile: int | None = Field(
        None, ge=16, description="longer side of a tile in pixels; null: the frame's own"
    )
    file: Annotated[str | None, file_name(".png", ".jpg", ".jpeg")] = Field(
        None, description="file name; null: NAME-maps.png"
    )


class Runtime(Block):
    """Where and how the work is done."""

    device: Device = Field("auto", description="auto: CUDA, else Apple's MPS, else the CPU")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the network; auto: bf16 where it is fast and good enough"
    )
    tile: Annotated[int | Literal["auto", "none"], whole_or("auto", "none", at_least=64)] = Field(
        "auto", description="side of the tiles in pixels, for pictures larger than the memory"
    )
    batch: Annotated[int | Literal["auto"], whole_or("auto", at_least=1)] = Field(
        "auto", description="frames dreamed at once"
    )
    threads: Annotated[int | Literal["auto"], whole_or("auto", at_least=1)] = Field(
        "auto", description="CPU threads"
    )
    deterministic: bool = Field(
        False, description="the same bytes every time on CUDA too, at some speed"
    )
