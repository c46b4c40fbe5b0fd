"""Read a head's responses from a SOFA file, with h5py.

Source: AES69-2022, "Spatial acoustic data file format" (SOFA); convention SimpleFreeFieldHRIR: Data.IR `[M, R, N]`,
SourcePosition `[M, 3]`, Data.SamplingRate, Data.Delay `[1 or M, R]` in samples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..sound.ear_filters import HeadResponses, ears_of_responses
from ..sound.headphones import EarFilters
from .files import existing_file

INSTALL = 'pip install "con360-av[sofa]"  (or: pip install h5py)'
RATES_HZ = (8000, 384000)
# Megabytes of responses; the largest published sets have about 200.
_LARGEST_MB = 1024
CONVENTION = "SimpleFreeFieldHRIR"
_WANTED = f"a SOFA file of convention {CONVENTION} (two ears, free field, FIR) is wanted"


def ears_of_sofa(path: str | os.PathLike[str], order: int, rate_hz: int) -> EarFilters:
    """Make headphone filters out of a person's own SOFA file.

    Args:
        order: 1, 2 or 3. rate_hz: of the sound.

    Raises:
        InputError: as `read_sofa` and `ears_of_responses`.
    """
    return ears_of_responses(read_sofa(path), order, rate_hz)


def read_sofa(path: str | os.PathLike[str]) -> HeadResponses:
    """Read the responses of both ears; of several distances, the farthest.

    Raises:
        InputError: h5py is missing, or the file is no SOFA file of a head, or does not hold together.
    """
    found = existing_file(path)
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"reading {found.name} needs the package h5py: {INSTALL}") from error
    try:
        with h5py.File(found, "r") as file:
            _check_kind(file, found)
            return _responses(file, found)
    except InputError:
        raise
    # A damaged file fails in h5py with whatever its bytes happen to provoke.
    except Exception as error:
        raise InputError(
            f"{found.name} cannot be read as SOFA (HDF5): {error}. {_WANTED[:1].upper()}{_WANTED[1:]}."
        ) from error


def _check_kind(file: Any, path: Path) -> None:
    convention, kind = _text(file.attrs.get("SOFAConventions")), _text(file.attrs.get("DataType"))
    if _text(file.attrs.get("Conventions")) != "SOFA":
        raise InputError(f"{path.name} is HDF5, but no SOFA file; {_WANTED}.")
    if kind != "FIR" or convention != CONVENTION:
        raise InputError(f"{path.name} is of convention {convention!r} with data of type {kind!r}; {_WANTED}.")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _responses(file: Any, path: Path) -> HeadResponses:
    responses = _numbers(file, "Data.IR", path)
    places = _numbers(file, "SourcePosition", path)
    rate = _numbers(file, "Data.SamplingRate", path).ravel()
    if responses.ndim != 3 or responses.shape[1] != 2 or responses.shape[2] < 2:
        raise InputError(f"{path.name} has Data.IR of {_size(responses)}; wanted directions x 2 ears x samples.")
    if places.shape != (responses.shape[0], 3):
        raise InputError(
            f"{path.name} has SourcePosition of {_size(places)} for {responses.shape[0]} directions; wanted "
            f"{responses.shape[0]} x 3."
        )
    if rate.size < 1 or not RATES_HZ[0] <= rate[0] <= RATES_HZ[1] or rate[0] % 1 or (rate != rate[0]).any():
        raise InputError(f"{path.name} has a sampling rate of {rate[:3].tolist()} Hz; wanted one, 8 to 384 kHz.")
    if not responses.any(axis=2).all():
        raise InputError(f"{path.name} has responses that are silent; every direction must be heard by both ears.")
    yaw, pitch, distance = _spherical(file["SourcePosition"], places, path)
    responses = _delayed(responses, file, path)
    responses = responses[:, ::-1] if _ears_swapped(file, path) else responses
    kept = _once(yaw, pitch, distance)
    heard, yaws, pitches = map(torch.from_numpy, (responses[kept], yaw[kept], pitch[kept]))
    name = _text(file.attrs.get("ListenerShortName")) or path.name
    return HeadResponses(heard, yaws, pitches, round(float(rate[0])), name)


def _numbers(file: Any, name: str, path: Path) -> np.ndarray:
    import h5py

    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    data = file.get(name) if own else None
    if data is None or not hasattr(data, "shape") or data.dtype.kind not in "fiu":
        raise InputError(f"{path.name} has no numbers {name}; {_WANTED}.")
    if data.external or data.is_virtual:
        raise InputError(f"{path.name} keeps {name} in another file; take a file that holds all of it.")
    if data.size * 8 > _LARGEST_MB * 2**20:
        raise InputError(f"{path.name} has {name} of {_size(data)}, more than {_LARGEST_MB} MB; take a smaller set.")
    values = np.asarray(data[()], np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{path.name} has values in {name} that are not finite (NaN or infinite); get it again.")
    return values


def _size(data: Any) -> str:
    return " x ".join(map(str, data.shape)) or "one number"


def _spherical(
    data: Any, places: np.ndarray, path: Path, unsaid: str = "spherical"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right-positive yaw, pitch and distance of places; SOFA's azimuth is left-positive, its x axis points ahead."""
    kind = _text(data.attrs.get("Type")) or unsaid
    if kind == "cartesian":
        x, y, z = places.T
        flat = np.hypot(x, y)
        places = np.stack((np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, flat)), np.hypot(flat, z)), 1)
    elif kind != "spherical":
        raise InputError(f"{path.name} has places of type {kind!r}; wanted spherical or cartesian.")
    azimuth, pitch, distance = places.T
    if np.abs(pitch).max() > 90.001:
        raise InputError(f"{path.name} has an elevation of {np.abs(pitch).max():g} degrees; wanted -90 to 90.")
    return (180.0 - azimuth) % 360.0 - 180.0, pitch.clip(-90, 90), distance


def _ears_swapped(file: Any, path: Path) -> bool:
    """Tell whether the first receiver is the right ear.

    Raises:
        InputError: the listener does not look along the x axis, from which directions count.
    """
    if "ListenerView" in file:
        views = _numbers(file, "ListenerView", path).reshape(-1, 3)
        yaw, pitch, _ = _spherical(file["ListenerView"], views, path, "cartesian")
        if np.abs(yaw).max() > 0.1 or np.abs(pitch).max() > 0.1:
            raise InputError(f"{path.name} has a listener who does not look to azimuth 0; turn its directions first.")
    if "ReceiverPosition" not in file:
        return False
    ears = _numbers(file, "ReceiverPosition", path)
    if ears.shape[:2] != (2, 3):
        raise InputError(f"{path.name} has ReceiverPosition of {_size(ears)}; wanted 2 x 3.")
    first, second = _spherical(file["ReceiverPosition"], ears.reshape(2, 3, -1)[..., 0], path, "cartesian")[0]
    return bool(first > 0 > second)


def _once(yaw: np.ndarray, pitch: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Indices of one response per direction, that of the farthest source."""
    at = np.stack((np.cos(np.radians(pitch)) * np.exp(1j * np.radians(yaw)), np.sin(np.radians(pitch))), 1)
    order = np.argsort(-distance, kind="stable")
    _, first = np.unique(at[order].round(4), axis=0, return_index=True)
    return np.sort(order[first])


def _delayed(responses: np.ndarray, file: Any, path: Path) -> np.ndarray:
    """Put Data.Delay, in samples, in front of the responses; whole samples, the rest by the phase."""
    if "Data.Delay" not in file:
        return responses
    delay = _numbers(file, "Data.Delay", path)
    if delay.shape not in ((1, 2), (responses.shape[0], 2)):
        raise InputError(f"{path.name} has Data.Delay of {_size(delay)}; wanted 1 x 2 or {responses.shape[0]} x 2.")
    if delay.min() < 0 or delay.max() > 48000:
        raise InputError(f"{path.name} has delays of {delay.min():g} to {delay.max():g} samples; wanted 0 to 48000.")
    delay = delay - np.floor(delay.min())
    if not delay.any():
        return responses
    longer = responses.shape[-1] + int(np.ceil(delay.max())) + 16
    turns = np.exp(-2j * np.pi * np.fft.rfftfreq(longer) * delay[..., None])
    return np.fft.irfft(np.fft.rfft(responses, longer) * turns, longer)
