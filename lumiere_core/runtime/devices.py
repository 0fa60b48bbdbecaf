"""Where a network runs and in which dtype: names as users write them, to torch's objects."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """auto (an accelerator, else the CPU), cpu, cuda, cuda:1, mps, xpu. Raises ValueError for one that is not here."""
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "xpu", "mps") if _is_available(kind)), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda, cuda:1, mps or xpu; got {name!r}.") from error
    if device.type != "cpu" and not _is_available(device.type, device.index or 0):
        raise ValueError(f"device {name!r} is not available in this installation of torch; use auto or cpu.")
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """auto, float32, bfloat16 or float16. auto takes half precision where the device computes it fast."""
    if name == "auto":
        return _fast_dtype(device)
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of auto, {', '.join(DTYPES)}; got {name!r}.")
    return DTYPES[name]


def _fast_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
    if device.type == "cuda":
        # Emulated bfloat16 (before Ampere) counts as supported, and is slow: ask for the hardware.
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.bfloat16 if device.type == "xpu" else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; an older torch that cannot tell counts as no."""
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)


def _is_available(kind: str, index: int = 0) -> bool:
    module = {"mps": torch.backends.mps}.get(kind) or getattr(torch, kind, None)
    if module is None or not hasattr(module, "is_available") or not module.is_available():
        return False
    return kind == "mps" or index < module.device_count()
