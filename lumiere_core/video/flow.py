"""Optical flow: where pixels go from frame to frame, as a picture, and how well that alone explains the next frame."""

from __future__ import annotations

import numpy as np

SIDE = 128  # pixels that the shorter side is enlarged to at least: flow is found in patches of 8
OCCLUSION = (0.01, 0.5)  # of Sundaram et al. 2010, as Lai et al. take them


def dense_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Displacement of each pixel of a frame towards the next, uint8 (H, W, 3) each: (H, W, 2) float32, x and y in
    pixels. By dense inverse search (Kroeger et al. 2016).
    """
    import cv2

    height, width = first.shape[:2]
    scale = max(1.0, SIDE / min(height, width))
    gray = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        for frame in (first, second)
    ]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*gray, None)
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / np.float32(scale)


def flow_warping_errors(pixels: np.ndarray) -> np.ndarray:
    """How much of each change the flow does not explain (Lai et al. 2018, eq. 11): the mean squared difference of a
    frame and the next one warped back onto it, where nothing is uncovered; uint8 (T, H, W, 3) -> (T - 1,), in units of
    0..1 squared. Motion costs nothing; flicker, melting and popping do.
    """
    pairs = zip(pixels[:-1], pixels[1:], strict=True)
    return np.array([_warping_error(first, second) for first, second in pairs])


def flow_picture(flow: np.ndarray, fastest: float) -> np.ndarray:
    """Hue is direction (red to the right, then counter-clockwise), saturation speed up to `fastest` pixels a frame:
    (H, W, 2) -> (H, W, 3) uint8.
    """
    import cv2

    speed, angle = np.hypot(flow[..., 0], flow[..., 1]), np.arctan2(-flow[..., 1], flow[..., 0])
    saturation = np.clip(speed / max(fastest, 1e-6), 0, 1) * 255
    hue = np.mod(angle, 2 * np.pi) / (2 * np.pi) * 180
    hsv = np.stack([np.minimum(hue, 179), saturation, np.full_like(speed, 255)], axis=-1)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def _warping_error(first: np.ndarray, second: np.ndarray) -> float:
    forth = dense_flow(first, second)
    back = warp(dense_flow(second, first), forth)
    squares = (forth**2).sum(-1) + (back**2).sum(-1)
    seen = ((forth + back) ** 2).sum(-1) <= OCCLUSION[0] * squares + OCCLUSION[1]
    change = (first.astype(np.float32) - warp(second.astype(np.float32), forth)) / 255
    return float(np.square(change[seen]).mean()) if seen.any() else 0.0


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What of an image (H, W, C), float32, lies where the flow (H, W, 2) points to."""
    import cv2

    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
