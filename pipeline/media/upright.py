"""How decoded frames become upright RGB with square pixels, in BT.709, at the working size."""

from pipeline.errors import InputError
from pipeline.media.ffmpeg import Size
from pipeline.media.images import fit_size
from pipeline.media.probe import UNKNOWN, Probe
from pipeline.media.program import require

# Scene light in, display light of an SDR screen out. SDR white is put at 203 cd/m2 (BT.2408), and
# mobius leaves what is darker nearly alone and rolls off what is brighter, up to ten times that:
# of PQ's 0.58 (203 cd/m2) it makes 215, of 0.75 (1000 cd/m2) 250, so nothing clips that matters.
_TONE_MAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,"
    "tonemap=mobius:desat=0:peak=10,zscale=t=bt709:m=gbr:r=pc"
)
_UNTAGGED = (UNKNOWN, "unspecified", "reserved")


def working_size(source: Probe, within: Size | None) -> Size:
    """Choose the (width, height) to work at: even, for the encoders to come.

    Args:
        source: the video; its size with square pixels counts.
        within: the box to fill, shape kept; None keeps the size and cuts an odd row or column off.
    """
    if within is not None:
        return fit_size(source.size, within, multiple=2)
    width, height = source.size
    return max(2, width - width % 2), max(2, height - height % 2)


def upright_filter(source: Probe, size: Size) -> str:
    """Filters from decoded frames (ffmpeg has rotated them already) to RGB of `size`.

    Untagged YUV is taken as players take it: BT.709 from 720 lines on, else BT.601.

    Args:
        source: what the file is.
        size: (width, height) wanted.

    Raises:
        InputError: the video is HDR, and this ffmpeg cannot tone-map.
    """
    width, height = size
    filters = []
    if source.stored != size and source.stored == source.size:
        over = (source.stored[0] - width, source.stored[1] - height)
        if over in ((0, 1), (1, 0), (1, 1)):  # to cut one line off is sharper than to scale by it
            filters.append(f"crop={width}:{height}:0:0")
    scale = f"scale={width}:{height}:flags=bicubic"
    if source.hdr:
        doing = f"{source.path} is HDR ({source.transfer}) and cannot be tone-mapped"
        require("filter", "zscale", doing=doing, error=InputError)
        filters += [*_assumed(source), scale, _TONE_MAP]
    elif source.matrix in _UNTAGGED and source.stored[1] >= 720:
        filters.append(f"{scale}:in_color_matrix=bt709")
    else:
        filters.append(scale)
    return ",".join([*filters, "setsar=1", "format=rgb24"])


def _assumed(source: Probe) -> list[str]:
    """Tag what an HDR file leaves open: it is in BT.2020, limited range."""
    assumed = {"colorspace": "bt2020nc", "color_primaries": "bt2020", "range": "tv"}
    told = (source.matrix, source.primaries, source.levels)
    missing = [
        f"{name}={value}"
        for (name, value), tag in zip(assumed.items(), told, strict=True)
        if tag in _UNTAGGED
    ]
    return [f"setparams={':'.join(missing)}"] if missing else []
