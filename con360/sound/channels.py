"""Tell what a sound's channels mean: Ambisonics by metadata, by number or as a person says, or loudspeakers by name.

Convention: Ambisonics leaves here as AmbiX (ACN order, SN3D gains: W, Y, Z, X, ...) of order 1, 2 or 3, followed by
the head-locked stereo pair where there is one. Loudspeakers keep their order and FFmpeg's names (FL, FR, FC, LFE, ...).

Source: Spatial Audio RFC (google/spatial-media docs); Nachbar et al., "AmbiX", 2011; Malham, "Higher order Ambisonic
systems", 2003 (FuMa's order and maxN weights); Microsoft, WAVEFORMATEXTENSIBLE (order of loudspeakers).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import InputError
from ..records import SoundLayout

if TYPE_CHECKING:
    import numpy as np

Ambisonics = Literal["auto", "ambix", "n3d", "fuma", "none"]
AMBISONICS: tuple[str, ...] = get_args(Ambisonics)
FIRST_ORDER = 4
# Order of Ambisonics by its number of channels; a head-locked pair adds two.
ORDERS = {4: 1, 9: 2, 16: 3}
PAIR = 2
# By ACN: the channel among FuMa's W X Y Z R S T U V K L M N O P Q, and the factor from its weight to SN3D.
FUMA = (
    (0, math.sqrt(2)), (2, 1.0), (3, 1.0), (1, 1.0),
    (8, math.sqrt(3 / 4)), (6, math.sqrt(3 / 4)), (4, 1.0), (5, math.sqrt(3 / 4)), (7, math.sqrt(3 / 4)),
    (15, math.sqrt(5 / 8)), (13, math.sqrt(5 / 9)), (11, math.sqrt(32 / 45)), (9, 1.0), (10, math.sqrt(32 / 45)),
    (12, math.sqrt(5 / 9)), (14, math.sqrt(5 / 8)),
)  # fmt: skip
# Layouts of channels without names, in WAVE's order.
WAVE_LAYOUTS: dict[int, tuple[str, tuple[str, ...]]] = {
    3: ("3.0", ("FL", "FR", "FC")),
    4: ("quad", ("FL", "FR", "BL", "BR")),
    5: ("5.0", ("FL", "FR", "FC", "BL", "BR")),
    6: ("5.1", ("FL", "FR", "FC", "LFE", "BL", "BR")),
    7: ("6.1", ("FL", "FR", "FC", "LFE", "BC", "SL", "SR")),
    8: ("7.1", ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")),
}
# FFmpeg's labels of channels that nobody described: it names four and sixteen by their count alone.
_UNDESCRIBED = {4: ("quad", "4.0", "quad(side)"), 16: ("hexadecagonal",)}
_SPEAKER = re.compile(r"(F|B|S|W|T|D|SD|TF|TB|TS|BF|SS|TT)[LRC]|F[LR]C|LFE2?")


@dataclass(frozen=True)
class AmbisonicTags:
    """The SA3D box of one sound track.

    Args:
        order: of the Ambisonics.
        channel_map: ACN component of each channel; from (order + 1)^2 on, left and right of the head-locked pair.
        normalization: "" where the box names a kind of Ambisonics that is not known.
        head_locked: there is such a pair.
    """

    order: int
    channel_map: tuple[int, ...]
    normalization: Literal["", "ambix", "n3d"] = "ambix"
    head_locked: bool = False


@dataclass(frozen=True)
class Channels:
    """Layout of a sound's channels, and which source channels make it.

    Args:
        layout: of the result, as in `records.Sound`.
        speakers: names of loudspeakers; empty where the channels are none, or nobody knows which.
        picks: source channel and factor of each channel of the result; None leaves all as they are.
        notices: what was assumed or is left out.
    """

    layout: SoundLayout
    speakers: tuple[str, ...] = ()
    picks: tuple[tuple[int, float], ...] | None = None
    notices: tuple[str, ...] = ()

    def taken(self, block: np.ndarray) -> np.ndarray:
        """Pick the result's channels `[D, n]` from the source's `[C, n]`."""
        import numpy as np

        if self.picks is None:
            return block
        gains = np.array([gain for _, gain in self.picks], block.dtype)
        return np.ascontiguousarray(block[[source for source, _ in self.picks]] * gains[:, None])


def channel_meaning(
    count: int, label: str = "", names: tuple[str, ...] = (), tags: AmbisonicTags | None = None, *,
    ambisonics: str = "auto", head_locked: bool = False,
) -> Channels:  # fmt: skip
    """Say what `count` channels are.

    Args:
        label, names: FFmpeg's name of the layout and of each channel. tags: the SA3D box.
        ambisonics: one of `AMBISONICS`. `auto` believes SA3D, then FFmpeg's layout; 4, 9 and 16 channels that nobody
            described are AmbiX, with a notice. `ambix`, `n3d` and `fuma` take the channels as they come, whatever the
            file says; `none` takes them for loudspeakers.
        head_locked: the last two channels are a stereo pair that does not turn with the view.

    Raises:
        InputError: an unknown word, or channels that cannot be what was said.
    """
    check_ambisonics(ambisonics, head_locked)
    if ambisonics == "none":
        return _loudspeakers(count, names)
    if ambisonics != "auto":
        return _as_said(count, ambisonics, head_locked)
    found = _as_tagged(count, names, tags, head_locked)
    if head_locked and (found is None or len(found.picks or range(count)) - PAIR not in ORDERS):
        return _as_said(count, "ambix", head_locked)
    return found or _as_counted(count, label) or _loudspeakers(count, names)


def check_ambisonics(ambisonics: str, head_locked: bool) -> None:
    """Check that the two options are known and go together.

    Raises:
        InputError: an unknown word, or a head-locked pair without Ambisonics.
    """
    if ambisonics not in AMBISONICS:
        raise InputError(f"Ambisonics {ambisonics!r} is unknown; choose one of {', '.join(AMBISONICS)}.")
    if ambisonics == "none" and head_locked:
        raise InputError("head-locked names a pair beside Ambisonics, and Ambisonics is 'none'; leave one of them out.")


def first_order_notice(order: int | None) -> tuple[str, ...]:
    """Say that of higher orders the first is used; nothing where there are none."""
    return () if (order or 1) == 1 else (f"the sound is Ambisonics of order {order}; its first-order part is used",)


def sn3d_of(kind: str, components: int) -> tuple[tuple[int, float], ...]:
    """List channel and factor to SN3D of the first `components` in ACN order; `kind` is ambix, n3d or fuma."""
    if kind == "fuma":
        return FUMA[:components]
    # N3D is SN3D times sqrt(2 n + 1) at order n.
    return tuple((i, 1 / math.sqrt(2 * math.isqrt(i) + 1) if kind == "n3d" else 1.0) for i in range(components))


def _as_said(count: int, kind: str, head_locked: bool) -> Channels:
    own = count - PAIR if head_locked else count
    if own not in ORDERS:
        what, counts = {"ambix": "AmbiX", "n3d": "N3D", "fuma": "FuMa"}[kind], "4, 9 or 16"
        if head_locked:
            what, counts = f"{what} with a head-locked pair", "6, 11 or 18"
        hint = "Say that its last two are a head-locked pair" if own - PAIR in ORDERS else "Leave it to 'auto'"
        raise InputError(
            f"{what} has {counts} channels (order 1, 2 or 3); the sound has {count}. {hint}, or choose 'none' for "
            f"loudspeakers."
        )
    pair = (own, own + 1) if head_locked else ()
    return _ambix(sn3d_of(kind, own), pair, count)


def _ambix(
    field: tuple[tuple[int, float], ...], pair: tuple[int, ...], count: int, order: int = 0, said: str = ""
) -> Channels:
    """Make AmbiX with its notices.

    Args:
        field: source channel and factor of each channel. pair: the source's head-locked channels. order: of the source,
            where it may have more channels.
    """
    picks, own = (*field, *((channel, 1.0) for channel in pair)), ORDERS[len(field)]
    dropped = f"the sound is Ambisonics of order {order} ({count} channels); {len(picks)} of them are used, order {own}"
    notices = tuple(notice for notice in (said, dropped if count > len(picks) else "") if notice)
    same = picks == tuple((i, 1.0) for i in range(count))
    return Channels("ambix", (), None if same else picks, notices)


def _whole_orders(at: dict[int, int]) -> int:
    """Count the components up to the highest order, 3 at most, that has all of its own; 0 for not even first order."""
    return max((count for count in ORDERS if set(range(count)) <= set(at)), default=0)


def _as_tagged(
    count: int, names: tuple[str, ...], tags: AmbisonicTags | None, head_locked: bool
) -> Channels | None:  # fmt: skip
    if tags is not None and count >= FIRST_ORDER:
        at = {component: channel for channel, component in enumerate(tags.channel_map[:count])}
        last = (tags.order + 1) ** 2
        whole = _whole_orders({component: channel for component, channel in at.items() if component < last})
        if not whole or not tags.normalization:
            said = "the sound's Ambisonic metadata is of an unknown kind; it is used without direction"
            return Channels("other", notices=(said,))
        field = tuple((at[i], gain) for i, gain in sn3d_of(tags.normalization, whole))
        has_pair = (tags.head_locked or head_locked) and {last, last + 1} <= set(at)
        return _ambix(field, (at[last], at[last + 1]) if has_pair else (), count, tags.order)
    # FFmpeg's names of components, which are AmbiX.
    at = {int(name[4:]): channel for channel, name in enumerate(names) if re.fullmatch(r"AMBI\d+", name)}
    whole = _whole_orders(at)
    if not whole:
        return None
    pair = (names.index("FL"), names.index("FR")) if {"FL", "FR"} <= set(names) else ()
    return _ambix(tuple((at[i], 1.0) for i in range(whole)), pair, count, math.isqrt(len(at) - 1))


def _as_counted(count: int, label: str) -> Channels | None:
    if count not in ORDERS or label not in (f"{count} channels", *_UNDESCRIBED.get(count, ())):
        return None
    kind = "(W, Y, Z, X, SN3D)" if count == FIRST_ORDER else f"of order {ORDERS[count]} (ACN, SN3D)"
    number = "four" if count == FIRST_ORDER else count
    said = f"the sound has {number} channels labelled '{label}'; they are taken as AmbiX {kind}"
    return _ambix(sn3d_of("ambix", count), (), count, said=said)


def _loudspeakers(count: int, names: tuple[str, ...]) -> Channels:
    if count < 3:
        return Channels("mono" if count == 1 else "stereo" if count == 2 else "other")
    if len(names) == count and all(_SPEAKER.fullmatch(name) for name in names):
        return Channels("other", names)
    if count not in WAVE_LAYOUTS:
        return Channels("other", notices=(f"the places of the sound's {count} channels are not known",))
    layout, speakers = WAVE_LAYOUTS[count]
    said = f"the sound has {count} channels without names; they are taken as {layout} ({', '.join(speakers)})"
    return Channels("other", speakers, notices=(said,))
