"""A camera on the network: an RTSP server that sends a video that never ends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import av
import numpy as np

SIZE = 64
RATE = 50
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\n"
TS_PACKETS = 7 * 188  # bytes of MPEG-TS in an RTP packet


class Camera:
    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"
        self.off = threading.Event()
        self._sent = 0
        self._another = threading.Condition()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def wait_for_frames(self, count: int) -> None:
        """Until it has sent so many more."""
        with self._another:
            until = self._sent + count
            assert self._another.wait_for(lambda: self._sent >= until, 30)

    def close(self) -> None:
        self.off.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError, av.FFmpegError):  # the client may leave
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        requests = connection.makefile("rb")
        while line := requests.readline():
            method = line.split()[0].decode()
            fields = dict(iter(lambda: _field(requests.readline()), None))
            head, body = "", ""
            if method == "DESCRIBE":
                head, body = "Content-Type: application/sdp\r\n", SDP
            elif method == "SETUP":
                head = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            head = f"RTSP/1.0 200 OK\r\nCSeq: {fields['cseq']}\r\nSession: 1\r\n{head}"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            if method == "PLAY":
                self._play(connection)
                return

    def _play(self, connection: socket.socket) -> None:
        with av.open(_RtpPackets(connection), "w", "mpegts") as container:
            stream: Any = container.add_stream("mpeg2video", RATE)
            stream.width = stream.height = SIZE
            stream.pix_fmt = "yuv420p"
            stream.gop_size = 5
            pixels = np.full((SIZE, SIZE, 3), 128, np.uint8)
            while not self.off.wait(1 / RATE):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
                with self._another:
                    self._sent += 1
                    self._another.notify_all()


class _RtpPackets:
    """A file that sends what is written to it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._number = connection, 0

    def write(self, data: bytes) -> int:
        for at in range(0, len(data), TS_PACKETS):
            part = data[at : at + TS_PACKETS]
            head = struct.pack(">BBHII", 0x80, 33, self._number % 65536, 0, 1)
            self._connection.sendall(b"$\0" + struct.pack(">H", len(head + part)) + head + part)
            self._number += 1
        return len(data)


def _field(line: bytes) -> tuple[str, str] | None:
    name, _, value = line.decode().strip().partition(":")
    return (name.lower(), value.strip()) if name else None


@contextmanager
def camera() -> Iterator[Camera]:
    one = Camera()
    try:
        yield one
    finally:
        one.close()
