"""Describe a media file before anything large is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from ..records import SoundLayout
from ..sound.channels import AmbisonicTags, Channels, channel_meaning
from .colour import BT_709_COLOUR, Colour, colour_of
from .early import early_times
from .files import existing_file
from .layouts import AS_TAGGED, Reading, tags_as
from .limits import max_pixels
from .spherical import SphericalTags, TrackTags, parse_spherical_xml, read_track_tags

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.layout import AudioLayout
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

MIN_HEIGHT_PX = 8
# Without spherical metadata a picture outside this range of width / height is taken for a flat one: 3:2 photos and
# portrait clips fall below, cinema's 2.35 above; 16:9 and 2.25 occur among real panoramas (Sphere360).
PANORAMA_ASPECT = (1.55, 2.3)

PICTURE_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")
# Containers that hold what they say. Playlists and lists of files (hls, dash, concat, image2, sdp) point elsewhere: a
# live one is waited for without end.
CONTAINERS = (
    "aac", "ac3", "aiff", "asf", "au", "avi", "caf", "dv", "eac3", "flac", "flv", "gif", "h264", "hevc", "ivf", "m4v",
    "matroska", "mov", "mp3", "mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "rm", "vc1", "w64", "wav",
    "wv",
)  # fmt: skip
OPENING = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}


@dataclass(frozen=True)
class AudioTrack:
    """One sound track.

    Args:
        number: counts from 1 among the file's sound tracks, as `audio_track` does.
        stream_index: FFmpeg's index of the stream.
        label, names: FFmpeg's names of the channel layout and of each channel.
        tick_s: step of the track's timestamps.
        heard: what the channels mean, and how they are read. tags: the SA3D box, if any.
    """

    number: int
    stream_index: int
    channels: int
    sample_rate_hz: int
    label: str
    codec: str
    is_default: bool
    tick_s: float
    heard: Channels
    names: tuple[str, ...] = ()
    tags: AmbisonicTags | None = None

    @property
    def layout(self) -> SoundLayout:
        return self.heard.layout

    @property
    def heard_channels(self) -> int:
        """Number of channels as they are read."""
        return len(self.heard.picks or range(self.channels))

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices about what was assumed of the channels."""
        return self.heard.notices

    def taken_as(self, ambisonics: str, head_locked: bool) -> AudioTrack:
        """Return the track with its channels taken as these options say (`channel_meaning`).

        Raises:
            InputError: they cannot be what was said.
        """
        heard = channel_meaning(
            self.channels, self.label, self.names, self.tags, ambisonics=ambisonics, head_locked=head_locked
        )
        return replace(self, heard=heard)


@dataclass(frozen=True)
class MediaInfo:
    """Contents of a media file.

    Args:
        kind: `video`, `picture` (a still) or `sound` (no picture track).
        width, height: as displayed, with rotation and sample aspect ratio applied; 0 for sound.
        coded_width, coded_height: as stored, before both.
        rotation_deg: counter-clockwise turn that the file asks for, a multiple of 90.
        fps: average frame rate, None where the file does not say.
        duration_s: of the picture where known, else of the file, else None (live recordings).
        spherical: projection and stereo packing that the metadata states.
        colour: of a video's picture.
        origin_s: file time that counts as 0; below 0 where Matroska stores more (`early_times`).
        notices: sentences for people.
        reading: how the picture is taken where that is not as its metadata says.
    """

    path: Path
    kind: Literal["video", "picture", "sound"]
    width: int = 0
    height: int = 0
    coded_width: int = 0
    coded_height: int = 0
    rotation_deg: int = 0
    fps: float | None = None
    duration_s: float | None = None
    codec: str = ""
    spherical: SphericalTags = SphericalTags()
    audio_tracks: tuple[AudioTrack, ...] = ()
    origin_s: float = 0.0
    notices: tuple[str, ...] = ()
    reading: Reading = AS_TAGGED
    colour: Colour = BT_709_COLOUR

    @property
    def aspect(self) -> float:
        return self.width / max(1, self.height)

    @property
    def projection(self) -> str:
        """Name the projection: the metadata's, else `flat?` or `equirectangular?` by the shape of an eye alone."""
        shaped = has_panorama_shape(self.aspect, self.stereo)
        return self.spherical.projection or ("equirectangular?" if shaped else "flat?")

    @property
    def stereo(self) -> str:
        return self.spherical.stereo or "mono"

    def taken_as(self, reading: Reading) -> MediaInfo:
        """Return the file with its picture taken as a reading says."""
        said = pose_notices(self.spherical) if reading.upright else ()
        return replace(
            self, spherical=tags_as(self.spherical, reading), reading=reading,
            notices=tuple(notice for notice in self.notices if notice not in said),
        )  # fmt: skip


def has_panorama_shape(aspect: float, stereo: str) -> bool:
    """Tell whether a picture of this width / height may hold whole panoramas, packed as `stereo` says."""
    low, high = PANORAMA_ASPECT
    # Packed eyes keep their full size or are squeezed to half.
    shares = {"top-bottom": (1.0, 2.0), "left-right": (1.0, 0.5)}.get(stereo, (1.0,))
    return any(low <= aspect * share <= high for share in shares)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a local media file with FFmpeg.

    Raises:
        InputError: FFmpeg cannot read it, or it is none of `CONTAINERS` (a playlist, which points elsewhere).
    """
    import av

    try:
        # Not `options`: PyAV copies those for each stream and frees too many where reading finds further streams.
        container = av.open(str(path), container_options=OPENING, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path.name} is not a media file that can be read, or it is incomplete (FFmpeg: {_reason(error)}). "
            f"Give an MP4, MOV, WebM or MKV video, and copy it again if it was cut off."
        ) from error
    with container:
        yield container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def video_stream(container: InputContainer) -> VideoStream | None:
    """Find the first picture track that is a video; cover art is none.

    Raises:
        InputError: nothing decodes it.
    """
    from av.stream import Disposition

    found = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
    if found is not None and found.codec_context is None:
        name = os.path.basename(container.name)
        raise InputError(f"the picture of {name} is in a format that FFmpeg cannot decode. Convert it to H.264.")
    return found


def probe(path: str | os.PathLike) -> MediaInfo:
    """Describe a video, still picture or sound file.

    Decodes at most one frame, and none that is larger than `limits.max_pixels`.

    Raises:
        InputError: no such file, or not one that can be read.
    """
    path = existing_file(path)
    if is_picture(path):
        with open_picture(path) as picture:
            return _picture_info(path, picture)
    with open_media(path) as container:
        tags = read_track_tags(path)
        # Live recordings start at any time. A negative start is decoder priming, which players cut, but in Matroska's
        # own blocks it is picture and sound.
        origin_s = early_times(path)[0] or max(0.0, (container.start_time or 0) / 1_000_000)
        sounds = enumerate(container.streams.audio, 1)
        tracks = tuple(_audio_track(number, sound, _tags_of(sound, tags).ambisonic) for number, sound in sounds)
        stream = video_stream(container)
        if stream is None:
            seconds = container.duration / 1_000_000 - min(0.0, origin_s) if container.duration else None
            return MediaInfo(path, "sound", duration_s=seconds, audio_tracks=tracks, origin_s=origin_s)
        return _video_info(path, container, stream, _tags_of(stream, tags).spherical, tracks, origin_s)


def _tags_of(stream: AudioStream | VideoStream, tags: dict[int, TrackTags]) -> TrackTags:
    # FFmpeg's id is the track id in MP4 and MOV alone.
    key = stream.id if "mp4" in stream.container.format.name else stream.index
    return tags.get(key, TrackTags())


def _video_info(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    spherical: SphericalTags,
    tracks: tuple[AudioTrack, ...],
    origin_s: float,
) -> MediaInfo:
    context = stream.codec_context
    width, height, rotation = context.width, context.height, 0
    frame = _first_frame(container, stream) if 0 < width * height <= max_pixels() else None
    if frame is not None:
        width, height, rotation = frame.width, frame.height, round(frame.rotation / 90) % 4 * 90
    ratio = float(stream.sample_aspect_ratio or 1)
    # Far-off ratios are broken headers, not pictures.
    shown = [round(width * ratio), height] if 0.1 < ratio < 10 else [width, height]
    if rotation in (90, 270):
        shown.reverse()
    seconds: float | None
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = container.duration / 1_000_000 if container.duration else None
    if seconds is not None:  # Matroska counts it from 0, wherever its blocks begin
        seconds -= min(0.0, origin_s)
    rate = stream.average_rate or stream.guessed_rate
    return MediaInfo(
        path, "video", shown[0], shown[1], width, height, rotation, float(rate) if rate else None, seconds,
        context.codec.canonical_name, spherical, tracks, origin_s, pose_notices(spherical),
        colour=colour_of(context, frame),
    )  # fmt: skip


def pose_notices(spherical: SphericalTags) -> tuple[str, ...]:
    """Say that a file asks for a turned sphere; nothing where it does not."""
    if all(abs(angle) <= 0.5 for angle in spherical.pose_deg):
        return ()
    pose = ", ".join(f"{angle:.4g}" for angle in spherical.pose_deg)
    return (f"the file states a tilted camera (yaw, pitch, roll {pose} degrees), which is not levelled here",)


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Decode the first good frame among the first packets: a header can lie, a frame cannot."""
    import av

    packets = container.demux(stream)
    for _ in range(64):
        try:
            if frames := next(packets).decode():
                return frames[0]
        except StopIteration:
            return None
        except av.FFmpegError:
            continue  # damaged packets are counted by the reader, which meets them again
    return None


def _audio_track(number: int, stream: AudioStream, box: AmbisonicTags | None) -> AudioTrack:
    from av.stream import Disposition

    context = stream.codec_context
    if context is None:  # nothing decodes it
        nothing = Channels("other")
        return AudioTrack(number, stream.index, 0, 0, "none", "unknown", False, float(stream.time_base), nothing)
    known = kept_layout(context)
    channels, label = known.nb_channels, known.name if known.nb_channels else "none"
    names = tuple(channel.name for channel in known.channels) if channels else ()
    default = bool(stream.disposition & Disposition.default)
    return AudioTrack(
        number, stream.index, channels, context.sample_rate or 0, label, context.name, default,
        float(stream.time_base), channel_meaning(channels, label, names, box), names, box,
    )  # fmt: skip


def kept_layout(context: AudioCodecContext) -> AudioLayout:
    """Return the channel layout of a track. Never ask the context for its layout or channels directly.

    A layout of PyAV 17.1 and 18 frees the list of a custom channel order, which the track owns and frees again: the
    heap breaks. So every layout is kept for good (some 60 bytes).
    """
    import ctypes

    layout = context.layout
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


def forget_order(context: AudioCodecContext) -> None:
    """Drop a track's custom channel order before decoding; frames keep their number of channels.

    `kept_layout` tells the order. Each frame would bring a layout of its own, and all of them cannot be kept.
    """
    context.layout = f"{kept_layout(context).nb_channels} channels"


# Still pictures -------------------------------------------------------------------------------------------------------


def is_picture(path: Path) -> bool:
    """Tell by the content, not the name, whether a file is a still picture."""
    with open(path, "rb") as file:
        head = file.read(16)
    return head.startswith(PICTURE_HEADS) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP")


@contextmanager
def open_picture(path: Path) -> Iterator[Image]:
    """Open a still picture without decoding it; errors of decoding in the block are translated.

    Raises:
        InputError: the part that the block reads is damaged, or Pillow takes the size for an attack.
    """
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Below Pillow's hard limit our own limit speaks, before decoding and in one sentence.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path.name} claims to be too large to decode ({error}). Scale it down first.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path.name} is not a picture that can be read. Copy it again, or save it as PNG.") from error
    with picture:
        try:
            yield picture
        except (InputError, MemoryError):
            raise
        # A damaged picture fails in Pillow with whatever its bytes happen to provoke.
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:160]
            raise InputError(f"{path.name} is damaged or incomplete ({reason}). Copy or download it again.") from error


def _picture_info(path: Path, picture: Image) -> MediaInfo:
    xmp = picture.info.get("xmp", b"")
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    # EXIF orientations 5 to 8 exchange width and height. Of a PNG they are known when all of it is decoded.
    small = picture.width * picture.height <= max_pixels()
    turned = small and picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    width, height = picture.size[::-1] if turned else picture.size
    notices = ("the picture is animated; its first frame is used",) if getattr(picture, "n_frames", 1) > 1 else ()
    spherical = parse_spherical_xml(text)
    return MediaInfo(
        path, "picture", width, height, *picture.size, codec=(picture.format or "").lower(),
        spherical=spherical, notices=(*notices, *pose_notices(spherical)),
    )  # fmt: skip
