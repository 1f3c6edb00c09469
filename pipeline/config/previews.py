"""A small and short version of a render: the same picture idea in seconds."""

from fractions import Fraction

from pipeline.config.blocks import GifOutput
from pipeline.config.render import Config, Source

LONGEST_SIDE = 320
SECONDS = 2
FRAMES = (
    24,
    48,
)  # two seconds, but enough to see motion at a low rate and not too many at a high one


def preview(config: Config) -> Config:
    """Return a config for a look at a render before it is made.

    At most 320 pixels on the longest side and about two seconds (24 to 48 frames) at the same frame
    rate, jitter and feather scaled with the picture, one GIF, or the sheets if that is what is
    asked for. Named NAME-preview, it has its own directory.
    """
    source, scale = _smaller(config.source)
    dream = config.dream.model_copy(update={"jitter": config.dream.jitter.scaled(scale)})
    name = f"{config.name[:92]}-preview"  # a name has at most 100 characters
    sheets = tuple(output for output in config.outputs if output.kind in ("sheet", "maps"))
    mask = config.mask and config.mask.model_copy(update={"feather": config.mask.feather * scale})
    feedback = config.feedback
    if feedback.kind == "camera" and (source.kind == "noise" or source.kind == "image"):
        shorter = min(feedback.loop, source.frames // 2)
        feedback = feedback.model_copy(update={"loop": shorter})
    update = {
        "name": name,
        "source": source,
        "feedback": feedback,
        "dream": dream,
        "mask": mask,
        "outputs": sheets or (GifOutput(kind="gif", width=None),),
    }
    return config.model_copy(update=update)


def _smaller(source: Source) -> tuple[Source, float]:
    """The source at preview size and length, and the factor its pixels shrink by."""
    size = source.size or (
        2 * LONGEST_SIDE,
        2 * LONGEST_SIDE,
    )  # the file's own size is not known yet
    scale = min(1.0, LONGEST_SIDE / max(size))
    update: dict[str, object] = {"size": tuple(_even(side * scale) for side in size)}
    if source.size is not None and scale == 1:
        update = {}
    if source.kind != "images":
        few = min(max(round(SECONDS * (source.fps or Fraction(24))), FRAMES[0]), FRAMES[1])
        few = min(source.frames or few, few)
        update["frames"] = few
    if source.kind == "video":
        update["cuts"] = tuple(cut for cut in source.cuts if cut < few)
    return source.model_copy(update=update), scale


def _even(side: float) -> int:
    return max(16, round(side / 2) * 2)
