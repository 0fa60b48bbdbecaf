"""Nodes for the tests alone: bad values for other nodes to meet, and tensors saved as they are."""

import os

import folder_paths
import numpy
import torch


class ProbeImages:
    """Random frames, a function of the seed; none where frames is 0."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        sizes = {name: ("INT", {"default": 8, "min": 0}) for name in ("frames", "height", "width")}
        return {"required": {**sizes, "seed": ("INT", {"default": 0})}}

    def make(self, frames, height, width, seed):
        return (torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed)),)


class ProbeConditioning:
    """A text of any width."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "make", ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"width": ("INT", {"default": 32, "min": 1})}}

    def make(self, width):
        return ([[torch.zeros(1, 8, width), {}]],)


class ProbeNaNModel:
    """A MODEL with a patch that makes one of its weights NaN."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "patch", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model):
        key = "diffusion_model.conv_in.weight"
        weight = model.model.get_parameter(key)
        patched = model.clone()
        assert patched.add_patches({key: ("diff", (torch.full(weight.shape, torch.nan),))}) == [key]
        return (patched,)


class ProbeSave:
    """An IMAGE, or the samples of a LATENT, as float32 in NAME.npy of the output folder."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "probe", "save", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("IMAGE,LATENT",), "name": ("STRING", {"default": "tensor"})}}

    def save(self, value, name):
        tensor = value["samples"] if isinstance(value, dict) else value
        numpy.save(os.path.join(folder_paths.get_output_directory(), f"{name}.npy"), tensor.float().cpu().numpy())
        return {}


class ProbeLoss:
    """The losses of core's TrainLoraNode, by step, as NAME.npy of the output folder."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "probe", "save", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"loss": ("LOSS_MAP",), "name": ("STRING", {"default": "loss"})}}

    def save(self, loss, name):
        numpy.save(os.path.join(folder_paths.get_output_directory(), f"{name}.npy"), numpy.array(loss["loss"]))
        return {}


PROBES = (ProbeImages, ProbeConditioning, ProbeNaNModel, ProbeSave, ProbeLoss)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in PROBES}
