"""One render as one value: read from YAML, checked as a whole, frozen.

    config = load_config("configs/noise_zoom.yaml", ["feedback.zoom=3", "seed=8"])
    config.source.size, config.dream.terms(), config.output_names()

    values, checks      what a setting may be, and how a wrong one is refused
    blocks, dream       the blocks of a config, each setting described where it stands
    channels, terms     what of a layer is climbed, and how much of it when
    shaping             parts of the dream besides its layers: classes, a guide, turns, blurs
    render              the whole, and what its blocks ask of one another
    yaml_source         YAML to a document, with line numbers
    overrides, walk     `key=value` settings laid over a file
    messages            pydantic's findings as located lines
    load, record        in from a file, out as plain data
    previews, docs      a smaller render; the README's table and the editors' schema

Nothing here imports torch, OpenCV or anything else that takes time.
"""

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
from pipeline.config.channels import Each
from pipeline.config.docs import config_table, json_schema
from pipeline.config.dream import Dream, LayerSettings, Smooth
from pipeline.config.load import check_schedules, config_from, load_config
from pipeline.config.previews import preview
from pipeline.config.record import PICTURE_NEUTRAL, config_hash, differing_keys, resolved_dict
from pipeline.config.render import FEEDBACKS, Config, Feedback, Output, Source
from pipeline.config.shaping import Blur, Guide, Transforms
from pipeline.config.terms import ClimbedTerm, LayerTerm

__all__ = [
    "FEEDBACKS",
    "PICTURE_NEUTRAL",
    "Blur",
    "CameraFeedback",
    "ClimbedTerm",
    "Config",
    "Dream",
    "Each",
    "Feedback",
    "FlowFeedback",
    "GifOutput",
    "Guide",
    "ImageSource",
    "ImagesSource",
    "LayerSettings",
    "LayerTerm",
    "MapsOutput",
    "Mask",
    "Mp4Output",
    "NoFeedback",
    "NoiseSource",
    "Output",
    "PngOutput",
    "PosterOutput",
    "Runtime",
    "SheetOutput",
    "Smooth",
    "Source",
    "Transforms",
    "VideoSource",
    "WebmOutput",
    "WebpOutput",
    "check_schedules",
    "config_from",
    "config_hash",
    "config_table",
    "differing_keys",
    "json_schema",
    "load_config",
    "preview",
    "resolved_dict",
]
