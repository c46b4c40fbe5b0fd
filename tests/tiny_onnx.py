"""A face detector in CenterFace's layout, small enough to write byte by byte: a white block is a face.

Four convolutions of stride 4 over the picture: heat (the mean of a block), log sizes, offsets, landmarks.
Source: the protobuf messages of ONNX (onnx.proto3).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

SIDE_PX = 10.0
FLOAT, INTS = 1, 7


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    content = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(content)) + content


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_field(1, side) for side in values.shape)
    return dims + _field(2, FLOAT) + _field(8, name) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, dims)))


def _convolution(name: str) -> bytes:
    ints = {"kernel_shape": (4, 4), "strides": (4, 4)}
    attributes = b"".join(
        _field(5, _field(1, key) + b"".join(_field(8, n) for n in values) + _field(20, INTS))
        for key, values in ints.items()
    )
    inputs = b"".join(_field(1, one) for one in ("input.1", f"{name}.w", f"{name}.b"))
    return inputs + _field(2, name) + _field(4, "Conv") + attributes


def write_face_detector(path: Path, heads: tuple[int, ...] = (1, 2, 2, 10)) -> Path:
    """Write the network; other `heads` (channels of each output) make it a network of another kind."""
    nodes = weights = outputs = b""
    for index, channels in enumerate(heads):
        name, kernel, bias = str(537 + index), np.zeros((channels, 3, 4, 4)), np.zeros(channels)
        if index == 0:
            kernel[:] = 1 / (3 * 16 * 255)
        if index == 1:
            bias[:] = math.log(SIDE_PX / 4)
        nodes += _field(1, _convolution(name))
        weights += _field(5, _tensor(f"{name}.w", kernel)) + _field(5, _tensor(f"{name}.b", bias))
        outputs += _field(12, _value(name, (1, channels, 8, 8)))
    graph = nodes + _field(2, "faces") + weights + _field(11, _value("input.1", (1, 3, 32, 32))) + outputs
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 11)))
    return path
