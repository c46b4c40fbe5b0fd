"""The few core nodes that this pack's workflows use, as ComfyUI's documentation describes them.

Sockets and kinds of files are ComfyUI's; encoder settings and file names are this host's own.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from .v3 import ComfyNode, NodeOutput, Schema, io


def _next_file(folder: Path, prefix: str, suffix: str) -> Path:
    """`prefix_00001_.suffix`, counted up; the prefix may name a folder inside `folder`."""
    path = (folder / prefix).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the prefix '{prefix}' points outside the output folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = len(list(path.parent.glob(f"{path.name}_*_{suffix}")))
    return path.with_name(f"{path.name}_{taken + 1:05}_{suffix}")


def _saved(path: Path, root: Path, kind: str) -> dict[str, str]:
    folder = path.parent.relative_to(root.resolve()).as_posix()
    return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": kind}


def _write_images(images: Any, folder: Path, prefix: str, kind: str) -> NodeOutput:
    from PIL import Image

    results = []
    for image in images:
        path = _next_file(folder, prefix, ".png")
        Image.fromarray((image * 255).clamp(0, 255).byte().numpy()).save(path)
        results.append(_saved(path, folder, kind))
    return NodeOutput(ui={"images": results})


def _write_video(path: Path, parts: Any) -> None:
    import av

    with av.open(str(path), "w") as container:
        picture = container.add_stream("h264", rate=Fraction(parts.frame_rate))
        picture.height, picture.width, picture.pix_fmt = *parts.images.shape[1:3], "yuv420p"
        sound = container.add_stream("aac", rate=parts.audio["sample_rate"]) if parts.audio else None
        for image in parts.images:
            pixels = (image * 255).clamp(0, 255).byte().numpy()
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode(None))
        if sound is not None:
            container.mux(sound.encode(_audio_frame(parts.audio)))
            container.mux(sound.encode(None))


def _audio_frame(audio: dict[str, Any]) -> Any:
    import av

    waveform = audio["waveform"][0].float()
    if waveform.shape[0] > 2:
        raise ValueError(f"core nodes write {waveform.shape[0]} channels as garbled stereo; give them one or two")
    layout = "mono" if waveform.shape[0] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(waveform.T.reshape(1, -1).contiguous().numpy(), format="flt", layout=layout)
    frame.sample_rate, frame.pts = audio["sample_rate"], 0
    return frame


class SaveVideo(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="SaveVideo", category="image/video", is_output_node=True,
            inputs=[
                io.Video.Input("video"), io.String.Input("filename_prefix", default="video/ComfyUI"),
                io.Combo.Input("format", options=["auto", "mp4"], default="auto"),
                io.Combo.Input("codec", options=["auto", "h264"], default="auto"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, video: Any, filename_prefix: str, format: str, codec: str) -> NodeOutput:
        path = _next_file(cls.base / "output", filename_prefix, ".mp4")
        _write_video(path, video.get_components())
        return NodeOutput(ui={"images": [_saved(path, cls.base / "output", "output")], "animated": (True,)})


class PreviewImage(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(node_id="PreviewImage", category="image", is_output_node=True, inputs=[io.Image.Input("images")])

    @classmethod
    def execute(cls, images: Any) -> NodeOutput:
        return _write_images(images, cls.base / "temp", "preview", "temp")


class PreviewAudio(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(node_id="PreviewAudio", category="audio", is_output_node=True, inputs=[io.Audio.Input("audio")])

    @classmethod
    def execute(cls, audio: Any) -> NodeOutput:
        import av

        path = _next_file(cls.base / "temp", "preview", ".flac")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("flac", rate=audio["sample_rate"])
            container.mux(stream.encode(_audio_frame(audio)))
            container.mux(stream.encode(None))
        return NodeOutput(ui={"audio": [_saved(path, cls.base / "temp", "temp")]})


class MaskToImage(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="MaskToImage", category="mask", inputs=[io.Mask.Input("mask")], outputs=[io.Image.Output()]
        )

    @classmethod
    def execute(cls, mask: Any) -> NodeOutput:
        return NodeOutput(mask[..., None].expand(-1, -1, -1, 3))


CORE_NODES = (SaveVideo, PreviewImage, PreviewAudio, MaskToImage)
