"""A party's part of a convolution, as a product of matrices of windows."""

from __future__ import annotations

import numpy as np

from tacit._native.shares import ZeroSharing
from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.steps import Words

__all__ = ["convolved_part"]


def convolved_part(
    zero: ZeroSharing, x: tuple[Words, Words], kernel: tuple[Words, Words], placement: Convolution
) -> Words:
    """With a share of zero: (samples, filters, rows, columns), C-contiguous."""
    filters, per_group, height, width = kernel[0].shape
    left = [_windows(part, (height, width), placement) for part in x]
    samples, rows, columns = left[0].shape[1:4]
    groups = placement.group
    right = [
        part.reshape(groups, filters // groups, per_group * height * width).transpose(0, 2, 1)
        for part in kernel
    ]
    part = zero.matmul(
        (
            left[0].reshape(groups, samples * rows * columns, -1),
            left[1].reshape(groups, samples * rows * columns, -1),
        ),
        (np.ascontiguousarray(right[0]), np.ascontiguousarray(right[1])),
    )
    shaped = part.reshape(groups, samples, rows, columns, filters // groups).transpose(1, 0, 4, 2, 3)
    return np.ascontiguousarray(shaped).reshape(samples, filters, rows, columns)


def _windows(x: Words, window: tuple[int, int], placement: Convolution) -> Words:
    """(groups, samples, rows, columns, channels of a group and window), C-contiguous."""
    top, left, bottom, right = placement.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    down, across = placement.dilations
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, ((window[0] - 1) * down + 1, (window[1] - 1) * across + 1), axis=(2, 3)
    )[:, :, :: placement.strides[0], :: placement.strides[1], ::down, ::across]
    samples, channels, rows, columns = windows.shape[:4]
    groups = placement.group
    split = windows.reshape(samples, groups, channels // groups, rows, columns, *window)
    ordered = np.ascontiguousarray(split.transpose(1, 0, 3, 4, 2, 5, 6))
    return ordered.reshape(groups, samples, rows, columns, -1)
