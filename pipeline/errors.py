"""What can go wrong, as one tree.

    PipelineError
    ├── ConfigError     the YAML, an override or a name in them is wrong (exit code 2)
    ├── InputError      a picture or video cannot be used
    ├── WeightsError    a weight file is missing, damaged or of another network
    ├── EncodeError     ffmpeg or a picture encoder failed
    └── ResumeError     the output directory belongs to another render, or is in use

A message is complete: what was given, what is accepted, what to do. It is shown as it is.
"""


class PipelineError(Exception):
    """Base of every error this package raises on purpose; the message is written for the user."""


class ConfigError(PipelineError):
    """The configuration is wrong."""


class InputError(PipelineError):
    """A picture or a video cannot be used as a source."""


class WeightsError(PipelineError):
    """A weight file is missing, damaged, or made for another network."""


class EncodeError(PipelineError):
    """An output could not be written."""


class ResumeError(PipelineError):
    """The output directory cannot be continued: another config, another render, or a lock."""
