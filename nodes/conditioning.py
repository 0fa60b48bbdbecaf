"""What is given of a clip: an image, keyframes, a video, a mask."""

from __future__ import annotations

from ..lumiere_core.conditioning.fitting import join_images
from ..lumiere_core.conditioning.given import MASKED, MODES, Given, masked_clip, parse_indices
from ..lumiere_core.diffusion.options import LONGEST_CLIP
from ..lumiere_core.runtime.notices import warn
from ..lumiere_core.video.tensors import video_to_frames
from . import inputs
from .checks import GIVEN, frames_of_images, with_values
from .host import io
from .running import running

MOST_PIXELS = 1024  # that a mask grows or fades by


class BuildConditioningMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereBuildConditioningMask",
            display_name="Build Conditioning Mask (Lumiere)",
            category=f"{inputs.CATEGORY}/conditioning",
            description="Says which pixels of a clip are given, and attaches them to the conditioning: a first frame, "
            "keyframes, a video to go on with, one with a hole, or a picture of which only a region moves. Wire the "
            "latent into the sampler too: it keeps what is given exactly. Wire the conditioning into the SSR as well.",
            search_aliases=[
                "lumiere",
                "image to video",
                "first frame",
                "first last frame",
                "keyframes",
                "inpaint video",
                "outpaint video",
                "extend video",
                "cinemagraph",
            ],
            inputs=[
                inputs.positive(),
                inputs.negative(),
                io.Image.Input(
                    "images",
                    tooltip="What is given, of any size (see fit): a picture for first_frame and region, one for each "
                    "index for keyframes, a video for extend and inpaint.",
                ),
                io.Int.Input(
                    "frames",
                    default=80,
                    min=0,
                    max=LONGEST_CLIP,
                    tooltip="Number of frames of the clip. 0, for inpaint, is the video's own.",
                ),
                inputs.side("width", "Width of the clip in pixels. 0 is the images' own.", default=32),
                inputs.side("height", "Height of the clip in pixels. 0 is the images' own.", default=32),
                inputs.fit(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="For inpaint and region: 1 where pixels are made anew, or may move. One mask, or one a "
                    "frame; as large as the images, or of their shape.",
                ),
                io.Image.Input(
                    "more_images",
                    optional=True,
                    tooltip="For keyframes: more pictures, after those of images, so that two loaders need no node "
                    "between. They may be of another size.",
                ),
                io.DynamicCombo.Input(
                    "mode",
                    options=[
                        io.DynamicCombo.Option("first_frame", []),
                        io.DynamicCombo.Option("keyframes", [_indices()]),
                        io.DynamicCombo.Option("extend", [_last()]),
                        io.DynamicCombo.Option("inpaint", _softening()),
                        io.DynamicCombo.Option("region", _softening()),
                    ],
                    tooltip="What is given. first_frame: the clip starts with a picture. keyframes: pictures at any "
                    "frames. extend: it goes on from a video. inpaint: a video in which the mask is made anew. region: "
                    "a picture that moves in the mask only (cinemagraph).",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the known pixels attached."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt with the known pixels attached."
                ),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The clip, with a noise mask that lets samplers keep the known pixels.",
                ),
                io.Image.Output(
                    display_name="images",
                    tooltip="What is known, mid-grey elsewhere: to look at.",
                ),
                io.Mask.Output(display_name="mask", tooltip="1 where pixels are generated, one mask a frame."),
            ],
        )

    @classmethod
    @running("Build Conditioning Mask")
    def execute(
        cls, positive, negative, images, frames, width, height, fit, mode=None, mask=None, more_images=None
    ) -> io.NodeOutput:  # fmt: skip
        if mode is None:  # what an unknown mode comes as: core drops an input that has no such choice
            raise ValueError(f"mode must be one of {', '.join(MODES)}; got another one, or none.")
        images = frames_of_images(images)
        mask = _taken("mask", mask, mode["mode"], MASKED)
        more_images = _taken("more_images", more_images, mode["mode"], ("keyframes",))
        if more_images is not None:
            images = join_images([images, frames_of_images(more_images, "more_images")])
        given = Given(
            mode["mode"],
            images,
            parse_indices(mode.get("indices", "0")),
            mask,
            fit,
            mode.get("last", 0),
            mode.get("grow", 0),
            mode.get("feather", 0),
        )
        frames = _length(frames, given)
        condition = given.condition(frames, (height or images.shape[1], width or images.shape[2]))
        values = {"concat_latent_image": condition.clip, "concat_mask": condition.change_mask, GIVEN: given}
        return io.NodeOutput(
            with_values(positive, values),
            with_values(negative, values),
            {"samples": condition.clip, "noise_mask": condition.change_mask},
            video_to_frames(masked_clip(condition)),
            condition.change_mask[0, 0],
        )


def _length(frames: int, given: Given) -> int:
    if frames == 0 and given.mode != "inpaint":
        raise ValueError(f"frames is 0, a video's own length, which is for inpaint; say how many {given.mode} makes.")
    return frames or len(given.images)


def _taken(name: str, value, mode: str, modes: tuple[str, ...]):
    """What a socket brings, for modes that take it. It may stay wired where another mode is tried, with a warning."""
    if value is None or mode in modes:
        return value
    warn(f"{name} has no effect on {mode}.")
    return None


def _indices():
    return io.String.Input(
        "indices",
        default="0, -1",
        tooltip='Which frames the images are, with commas, counted from 0; negative from the end: "0, -1" is the first '
        "and the last.",
    )


def _last():
    return io.Int.Input(
        "last",
        default=0,
        min=0,
        max=LONGEST_CLIP,
        tooltip="How many of the video's last frames the clip starts with. 0 is all of it.",
    )


def _softening() -> list:
    """grow and feather, in this order."""
    return [
        io.Int.Input(
            "grow",
            default=0,
            min=-MOST_PIXELS,
            max=MOST_PIXELS,
            tooltip="Pixels of the clip by which the mask is widened on all sides; negative narrows it.",
        ),
        io.Int.Input(
            "feather",
            default=0,
            min=0,
            max=MOST_PIXELS,
            tooltip="Pixels over which the mask fades outwards, so that no seam shows; what lies farther out is kept "
            "exactly.",
        ),
    ]
