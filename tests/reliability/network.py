"""Check that nothing connects by itself: run the demo, a generation and the nodes with sockets forbidden.

An audit hook refuses Python's sockets and name look-ups. FFmpeg opens addresses without Python, so the inputs point at
a server on this machine, which counts its visits.
"""

from __future__ import annotations

import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .apart import apart
from .figures import Effort, Figure, timed

FORBIDDEN = (
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.bind",
    "socket.sendto", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect",
)  # fmt: skip


class Connected(RuntimeError):
    """The program tried to reach the network."""


def forbid_sockets() -> None:
    """Forbid this process to connect, bind or look a name up; attempts raise and are noted."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            attempts.append(f"{event} {arguments[1:]}"[:120])
            raise Connected(f"{event} {arguments}")

    sys.addaudithook(hook)


# Attempts, noted here because a caller may swallow the error.
attempts: list[str] = []


def without_network(work: Callable[..., Any], *arguments: Any) -> list[str]:
    """Run `work` and return the attempts that it made."""
    forbid_sockets()
    work(*arguments)
    return attempts


def figures(effort: Effort) -> Iterator[Figure]:
    jobs = [("con360 generate", generate), ("every node of a workflow", nodes), ("con360 models", models)]
    if effort.demo:
        jobs.append(("con360 demo", demo))
    with timed("nothing connects to a network unless asked to") as figure, tempfile.TemporaryDirectory() as folder:
        end = apart(without_network, _all_of, [work for _, work in jobs], Path(folder), timeout_s=900)
        figure.expect(not end.trouble, end.trouble)
        figure.expect(not end.value, f"attempts: {end.value}")
        figure.expect(apart(without_network, connect, timeout_s=60).trace, "a forbidden connection was not noticed")
        figure.tried = ", ".join(name for name, _ in jobs)
        figure.outcome = "no socket was asked for"
    yield figure
    yield _addresses_in_files()


def _all_of(jobs: list[Callable[[Path], None]], folder: Path) -> None:
    for job in jobs:
        job(folder)


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def demo(folder: Path) -> None:
    from .bad_files import command

    assert command("demo", "--out", folder / "demo", "--steps", "2")[0] == 0


def models(folder: Path) -> None:
    from .bad_files import command

    assert command("models")[0] == 0


def generate(folder: Path) -> None:
    from synthetic_clips import noise, write_video

    from .bad_files import command, tiny_model_folder

    clip = write_video(folder / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000))
    status, _, errors = command("generate", clip, "-o", folder / "v.mp4", "--model", tiny_model_folder(folder),
                                "--duration", "0.5", "--steps", "1")  # fmt: skip
    assert status == 0, errors


def nodes(folder: Path) -> None:
    from tiny_workflow import tiny_workflow, write_model_files

    from tools.host import Host

    host = Host(folder / "comfy")
    write_model_files(host.base / "models")
    run = host.run(tiny_workflow(steps=1))
    assert run.status == "done", run.error or run.complaints


def _addresses_in_files() -> Figure:
    """Read files that name an address: playlists, lists, and a movie whose media lies elsewhere."""
    with (
        timed("a file that points at an address is not followed") as figure,
        tempfile.TemporaryDirectory() as folder,
        _counting_server() as (address, visits),
    ):
        files = _pointing_files(Path(folder), address)
        for file in files:
            end = apart(_read, file, timeout_s=60)
            figure.expect(not end.trouble, f"{file.name}: {end.trouble}")
        figure.expect(apart(visit, address, timeout_s=60).trouble == "" and visits == ["visit"],
                      f"the server was reached by {visits}")  # fmt: skip
        figure.tried, figure.outcome = f"{len(files)} files", "the server they name was never reached"
    return figure


def _read(file: Path) -> None:
    from con360.errors import InputError
    from con360.media.reader import read_panorama, read_sound

    for read in (read_panorama, read_sound):
        try:
            read(file)
        except InputError:
            continue  # a refusal is allowed


def visit(address: str) -> None:
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        wire.sendall(b"visit")


@contextmanager
def _counting_server() -> Iterator[tuple[str, list[str]]]:
    visits: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                wire, _ = server.accept()
            except OSError:
                return  # closed below
            with wire:
                visits.append(wire.recv(64).decode("latin-1").split("\r")[0])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}", visits
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def _pointing_files(folder: Path, address: str) -> list[Path]:
    url = f"http://{address}/clip.ts"
    texts = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "key.m3u8": f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\na.ts\n',
        "concat.mp4": f"ffconcat version 1.0\nfile '{url}'\n",
        "list.mp4": f"ffconcat version 1.0\nfile tcp://{address}\n",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 {address.split(':')[0]}\nt=0 0\n"
                       "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "dash.mp4": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
                    f'mediaPresentationDuration="PT1S"><Period><AdaptationSet><Representation id="1" bandwidth="1">'
                    f"<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "image.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>',
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts] + [_movie_with_reference(folder, url)]


def _movie_with_reference(folder: Path, url: str) -> Path:
    """An MP4 whose data reference says that the media lies at an address."""
    from synthetic_clips import write_video

    path = write_video(folder / "reference.mp4", [i / 8 for i in range(4)])
    data = path.read_bytes()
    own = b"\0\0\0\x0curl \0\0\0\x01"
    assert own in data, "the movie has no data reference to change"
    # Flag 0 says that the media lies elsewhere, at the address in the box; every box around it grows as well.
    address = url.encode() + b"\0"
    at = data.index(own)
    moved = bytearray(data[:at] + struct.pack(">I", 12 + len(address)) + b"url \0\0\0\0" + address + data[at + 12 :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.rindex(name, 0, at) - 4
        struct.pack_into(">I", moved, start, struct.unpack_from(">I", data, start)[0] + len(address))
    path.write_bytes(moved)
    return path
