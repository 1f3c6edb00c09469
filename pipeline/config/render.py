"""A whole config: one render, and what its blocks ask of one another."""

import re
from typing import Annotated, Any, Final

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.blocks import (
    CameraFeedback,
    FlowFeedback,
    GifOutput,
    ImageSource,
    ImagesSource,
    MapsOutput,
    Mask,
    Mp4Output,
    NoFeedback,
    NoiseSource,
    PngOutput,
    PosterOutput,
    Runtime,
    SheetOutput,
    VideoSource,
    WebmOutput,
    WebpOutput,
)
from pipeline.config.checks import Block, Shorthand, by_kind, refusal, refuse
from pipeline.config.dream import Dream
from pipeline.config.loops import check_loop, rests
from pipeline.config.values import PATH_SCHEMA, Component
from pipeline.errors import ConfigError

Source = NoiseSource | ImageSource | ImagesSource | VideoSource
Feedback = NoFeedback | CameraFeedback | FlowFeedback
Output = (
    Mp4Output
    | WebmOutput
    | GifOutput
    | WebpOutput
    | PngOutput
    | PosterOutput
    | SheetOutput
    | MapsOutput
)
OUTPUTS: Final = ("mp4", "webm", "gif", "webp", "png", "poster", "sheet", "maps")

FEEDBACKS: Final = {
    "noise": ("none", "camera"),
    "image": ("none", "camera"),
    "images": ("none",),
    "video": ("none", "flow"),
}
"""What may carry the dream from frame to frame, by the kind of source."""


def _mask_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Config(Block):
    """One render."""

    name: Component = Field(description="names the folder in outputs/ and the files in it")
    seed: int = Field(0, ge=0, lt=2**63, description="of every random choice")
    source: Annotated[Annotated[Source, Field(discriminator="kind")], by_kind("noise")] = Field(
        description="what the render starts from"
    )
    feedback: Annotated[
        Annotated[Feedback, Field(discriminator="kind")], by_kind("none", "camera", "flow")
    ] = Field(NoFeedback(kind="none"), description="how a frame inherits the dream of others")
    dream: Dream = Field(Dream(), description="what is dreamed")
    mask: Annotated[Mask, Shorthand(_mask_path, (PATH_SCHEMA,), "path or a map")] | None = Field(
        None, description="dream only parts of the source; null: all of it"
    )
    outputs: tuple[
        Annotated[Annotated[Output, Field(discriminator="kind")], by_kind(*OUTPUTS)],
        ...,
    ] = Field((Mp4Output(kind="mp4"),), strict=False, description="the files to write")
    runtime: Runtime = Field(Runtime(), description="where and how the work is done")
    keep_frames: bool = Field(
        True, description="keep the frames on disk once every output is written"
    )

    @field_validator("feedback")
    @classmethod
    def _fits_source(cls, feedback: Feedback, info: ValidationInfo) -> Feedback:
        source = info.data.get("source")
        if source is not None and feedback.kind not in FEEDBACKS[source.kind]:
            accepted = " or ".join(FEEDBACKS[source.kind])
            refuse(
                f"{feedback.kind} cannot carry a source of kind {source.kind}; it takes {accepted}",
                "kind",
            )
        return feedback

    @field_validator("feedback")
    @classmethod
    def _closes_its_loop(cls, feedback: Feedback, info: ValidationInfo) -> Feedback:
        source = info.data.get("source")
        if (
            isinstance(source, NoiseSource | ImageSource)
            and isinstance(feedback, CameraFeedback)
            and feedback.loop
        ):
            check_loop(feedback, source)
        return feedback

    @field_validator("mask")
    @classmethod
    def _comes_back(cls, mask: Mask | None, info: ValidationInfo) -> Mask | None:
        feedback = info.data.get("feedback")
        looped = isinstance(feedback, CameraFeedback) and feedback.loop and not rests(feedback)
        if mask is not None and looped:
            refuse("keeps the source, which a moving camera never comes back to: feedback.loop: 0")
        return mask

    @field_validator("dream")
    @classmethod
    def _enough_channels(cls, dream: Dream, info: ValidationInfo) -> Dream:
        source = info.data.get("source")
        if source is None:
            return dream
        frames = source.frames if source.kind in ("noise", "image") else None
        problems = []
        for layer, most in dream.most_frames().items():
            path = ("layers", layer, "channels")
            if frames is None:
                message = "each needs a source whose frames are counted: noise or image"
                problems.append((path, message))
            elif frames > most:
                message = f"each climbs one of {most} channels, and there are {frames} frames: "
                problems.append((path, f"{message}set source.frames to {most} or less"))
        if problems:
            raise refusal(problems)
        return dream

    @field_validator("outputs")
    @classmethod
    def _known_layers(cls, outputs: tuple[Output, ...], info: ValidationInfo) -> tuple[Output, ...]:
        from pipeline.engine.layers import resolve

        dream = info.data.get("dream")
        problems = []
        for index, output in enumerate(outputs):
            if dream is None or output.kind != "maps":
                continue
            try:
                layer = resolve(dream.model, output.layer or dream.first_layer())
            except ConfigError as error:
                problems.append(((index, "layer"), str(error)))
                continue
            if layer.stride is None:
                message = f"{layer.name} sees the whole picture at once: it has no maps"
                problems.append(((index, "layer"), message))
        if problems:
            raise refusal(problems)
        return outputs

    @field_validator("outputs")
    @classmethod
    def _different_files(
        cls, outputs: tuple[Output, ...], info: ValidationInfo
    ) -> tuple[Output, ...]:
        names = [_file_name(info.data.get("name", "NAME"), output) for output in outputs]
        problems: list[tuple[tuple[int], str]] = []
        for index, name in enumerate(names):
            for other in range(index):
                if _same_file(name, names[other]):
                    message = f"would write {name} like outputs[{other}]; give one of them a `file`"
                    problems.append(((index,), message))
                    break
        if problems:
            raise refusal(problems)
        return outputs

    @field_validator("keep_frames")
    @classmethod
    def _leaves_something(cls, keep: bool, info: ValidationInfo) -> bool:
        if not keep and info.data.get("outputs") == ():
            refuse("false without any outputs leaves nothing of the render")
        return keep

    def output_names(self) -> tuple[str, ...]:
        """Return the file name of each output, in order.

        A png output of chosen or all frames writes several files; its name has `{frame:06d}` in it,
        to be filled by `str.format(frame=...)`.
        """
        return tuple(_file_name(self.name, output) for output in self.outputs)


def _file_name(name: str, output: Output) -> str:
    several = output.kind == "png" and output.frames != "last"
    if output.kind == "poster":
        return output.file or f"{name}-poster.jpg"
    if output.kind in ("sheet", "maps"):
        return output.file or f"{name}-{output.kind}.png"
    file = output.file or f"{name}.{output.kind}"
    return file[: -len(".png")] + "-{frame:06d}.png" if several else file


def _same_file(name: str, other: str) -> bool:
    """Whether two names collide, on file systems that ignore case too."""
    name, other = name.lower(), other.lower()
    if "{" in other:
        name, other = other, name
    pattern = re.escape(name).replace(re.escape("{frame:06d}"), r"(\d{6,}|\{frame:06d\})")
    return re.fullmatch(pattern, other) is not None
