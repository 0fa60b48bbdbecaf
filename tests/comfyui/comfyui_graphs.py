"""Prompts in API form, built node by node; small enough for two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT = "a red circle moving right on a gray background"
BASE, SSR = "toy-base.safetensors", "toy-ssr.safetensors"
TEXT_WIDTH = 64  # of the bundled text encoder

SAMPLING = {"sampler": "dpmpp_2m", "scheduler": "normal", "window": 0, "overlap": -1, "fuse": "flat"}
STUNET = {"seed": 7, "steps": 3, "cfg": 3.0, "denoise": 1.0, "frames": 12, "width": 32, "height": 32}
STUNET |= {"keep_known": True, "loop": False, **SAMPLING}
SUPER = {"seed": 7, "steps": 2, "cfg": 1.0, "noise_level": -1, "tile": 0, "tile_overlap": 16, "loop": False, **SAMPLING}
KSAMPLER = {"seed": 7, "steps": 3, "cfg": 3.0, "sampler_name": "dpmpp_2m", "scheduler": "normal", "denoise": 1.0}
CONTEXT = {"context_schedule": "standard_static", "context_stride": 1, "closed_loop": False, "fuse_method": "flat"}
CONTEXT |= {"dim": 2, "freenoise": False, "causal_window_fix": False, "split_conds_to_windows": False}
CONTEXT |= {"cond_retain_index_list": "", "latent_retain_index_list": ""}


@dataclass(frozen=True)
class Node:
    """A node of a prompt; indexing it gives the link to one of its outputs."""

    id: str

    def __getitem__(self, slot: int) -> list:
        return [self.id, slot]


class Graph:
    """A prompt under construction: `prompt` is what is queued."""

    def __init__(self):
        self.prompt: dict[str, dict] = {}

    def add(self, class_type: str, **inputs) -> Node:
        node = Node(str(len(self.prompt) + 1))
        self.prompt[node.id] = {"class_type": class_type, "inputs": inputs}
        return node

    def save(self, value: list, name: str) -> Node:
        """Keep an IMAGE or the samples of a LATENT as `name`.npy in the output folder."""
        return self.add("ProbeSave", value=value, name=name)


class LumiereGraph(Graph):
    """A graph with both bundled networks and an encoded prompt; the methods add a node with inputs to change.

    What nothing that is saved depends on, ComfyUI does not run.
    """

    def __init__(self, base: str = BASE, ssr: str = SSR, text: str = PROMPT):
        super().__init__()
        self.base = self.add("LumiereLoadSTUNet", checkpoint=base, dtype="float32")
        self.ssr = self.add("LumiereLoadSSR", checkpoint=ssr, dtype="float32")
        self.positive = self.encode(text)[0]
        self.negative = self.encode("")[0]

    def encode(self, text: str) -> Node:
        return self.add("LumiereTextEncode", clip=self.base[1], text=text)

    def stunet(self, **changes) -> Node:
        texts = {"positive": self.positive, "negative": self.negative}
        return self.add("LumiereSTUNetSampler", **{"model": self.base[0], **texts, **STUNET, **changes})

    def super_resolution(self, images: list, **changes) -> Node:
        texts = {"positive": self.positive, "negative": self.negative}
        inputs = {"model": self.ssr[0], **texts, "images": images, **SUPER, **changes}
        return self.add("LumiereTemporalMultiDiffusionSSR", **inputs)

    def empty_video(self, frames: int = STUNET["frames"], side: int = STUNET["width"]) -> Node:
        return self.add("LumiereEmptyPixelVideo", frames=frames, width=side, height=side)

    def ksampler(self, latent: list, **changes) -> Node:
        """Core's KSampler, and the frames of what it samples."""
        texts = {"positive": self.positive, "negative": self.negative}
        inputs = {"model": self.base[0], **texts, "latent_image": latent, **KSAMPLER, **changes}
        return self.add("LumiereLatentToFrames", latent=self.add("KSampler", **inputs)[0])

    def conditioned_ksampler(self, images: list, **changes) -> Node:
        """The SSR through SSRConditioning and core's KSampler: the large frames."""
        texts = {"positive": self.positive, "negative": self.negative}
        small = self.add("LumiereSSRConditioning", **texts, images=images, scale=4, noise_level=-1)
        texts = {"positive": small[0], "negative": small[1]}
        return self.ksampler(small[2], **{"model": self.ssr[0], **texts, "cfg": 1.0, "steps": 2, **changes})

    def context_windows(self, model: list, window: int, overlap: int) -> Node:
        return self.add("ContextWindowsManual", model=model, context_length=window, context_overlap=overlap, **CONTEXT)

    def images(self, frames: int, side: int = 8, seed: int = 0) -> Node:
        return self.add("ProbeImages", frames=frames, height=side, width=side, seed=seed)
