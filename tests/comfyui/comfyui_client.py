"""A client of ComfyUI's HTTP interface and websocket; needs nothing beyond the standard library."""

from __future__ import annotations

import base64
import json
import os
import queue
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ENDINGS = ("execution_success", "execution_error", "execution_interrupted")
PREVIEW, TEXT = ((kind).to_bytes(4, "big") for kind in (1, 3))  # how binary messages with an image, with text begin
PATIENCE = 900  # seconds for one prompt, on a slow and busy machine


class Event(NamedTuple):
    """What the server sent: when it came (time.monotonic()), its type, and its data; a preview's data is an image."""

    time: float
    kind: str
    data: dict | bytes


@dataclass(frozen=True)
class Outcome:
    """A prompt that has ended."""

    prompt_id: str
    events: list[Event]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    @property
    def ending(self) -> Event:
        return next(event for event in self.events if event.kind in ENDINGS)

    @property
    def message(self) -> str:
        """Of an execution_error: what the node said."""
        return self.ending.data.get("exception_message", "").strip()

    def texts(self, node: str) -> list[str]:
        """What was shown at a node, each in place of the one before."""
        return [event.data["text"] for event in self.of("text") if event.data["node"] == node]

    @property
    def cached(self) -> set[str]:
        return {node for event in self.of("execution_cached") for node in event.data["nodes"]}

    @property
    def files(self) -> list[dict]:
        """What output nodes wrote, in order: {filename, subfolder, type} each; not what nodes only show."""
        lists = [values for event in self.of("executed") for values in (event.data["output"] or {}).values()]
        files = [value for values in lists for value in values if isinstance(value, dict) and "filename" in value]
        return [file for file in files if file["type"] == "output"]


class Refused(Exception):
    """The server did not take a prompt; the message has a line for each input that it rejects."""

    def __init__(self, answer: dict):
        lines = [answer["error"]["message"]] if isinstance(answer.get("error"), dict) else []
        for node_id, node in (answer.get("node_errors") or {}).items():
            for error in node["errors"]:
                lines.append(f"{node['class_type']} {node_id}: {error['message']}: {error['details']}")
        super().__init__("\n".join(lines))


class Client:
    """One browser tab, so to speak: prompts that it queues report their events to it."""

    def __init__(self, port: int):
        self.id = uuid.uuid4().hex
        self.address = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._events: queue.Queue[Event] = queue.Queue()
        self._socket = WebSocket("127.0.0.1", port, f"/ws?clientId={self.id}")
        threading.Thread(target=self._listen, daemon=True).start()

    def object_info(self) -> dict:
        return json.loads(self.get("/object_info"))

    def queue(self, prompt: dict, extra_data: dict | None = None) -> str:
        """Queue a prompt in API form and return its id. Raises Refused where validation rejects any of it.

        extra_data: what the front end sends along, such as the canvas's form of the graph.
        """
        try:
            queued = {"prompt": prompt, "client_id": self.id, "extra_data": extra_data or {}}
            answer = json.loads(self._post("/prompt", queued))
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            raise Refused(json.loads(error.read())) from error
        if answer["node_errors"]:
            raise Refused(answer)
        return answer["prompt_id"]

    def events(self, prompt_id: str) -> Iterator[Event]:
        """A queued prompt's events as they come, until the server has done with it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                event = self._events.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise TimeoutError(f"prompt {prompt_id} has not ended within {PATIENCE} s") from None
            if event.kind == "closed":
                raise ConnectionError("the server closed the websocket")
            if event.kind == "preview" or event.data.get("prompt_id", prompt_id) == prompt_id:  # other packs name none
                yield event
                if event.kind == "executing" and event.data["node"] is None:  # after the ending, and after the history
                    return

    def wait(self, prompt_id: str) -> Outcome:
        return Outcome(prompt_id, list(self.events(prompt_id)))

    def run(self, prompt: dict) -> Outcome:
        return self.wait(self.queue(prompt))

    def succeed(self, prompt: dict) -> Outcome:
        """Run a prompt that must end in execution_success."""
        outcome = self.run(prompt)
        assert outcome.ending.kind == "execution_success", f"{outcome.ending.kind}: {outcome.ending.data}"
        return outcome

    def fail(self, prompt: dict) -> str:
        """Run a prompt that must not succeed: what validation, or the node that fails, says."""
        try:
            outcome = self.run(prompt)
        except Refused as refused:
            return str(refused)
        assert outcome.ending.kind == "execution_error", outcome.ending.kind
        return outcome.message

    def interrupt(self) -> None:
        self._post("/interrupt", {})

    def history(self, prompt_id: str) -> dict:
        return json.loads(self.get(f"/history/{prompt_id}"))[prompt_id]

    def view(self, file: dict) -> bytes:
        """The bytes of one of an outcome's files."""
        return self.get("/view", **{key: file[key] for key in ("filename", "subfolder", "type")})

    def upload(self, file: Path) -> None:
        """Put a file into the server's input folder."""
        boundary = uuid.uuid4().hex
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{file.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        content = body.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        self._post_bytes("/upload/image", content, f"multipart/form-data; boundary={boundary}")

    def get(self, path: str, **query: str) -> bytes:
        url = f"{self.address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with self._opener.open(url, timeout=PATIENCE) as answer:
            return answer.read()

    def close(self) -> None:
        self._socket.close()

    def _post(self, path: str, data: dict) -> bytes:
        return self._post_bytes(path, json.dumps(data).encode(), "application/json")

    def _post_bytes(self, path: str, data: bytes, content_type: str) -> bytes:
        request = urllib.request.Request(f"{self.address}{path}", data, {"Content-Type": content_type})
        with self._opener.open(request, timeout=PATIENCE) as answer:
            return answer.read()

    def _listen(self) -> None:
        try:
            for message in self._socket.messages():
                now = time.monotonic()
                if isinstance(message, bytes):
                    if message[:4] == PREVIEW:
                        self._events.put(Event(now, "preview", message[8:]))  # four bytes tell JPEG from PNG
                    elif message[:4] == TEXT:
                        length = int.from_bytes(message[4:8], "big")
                        node, text = message[8 : 8 + length].decode(), message[8 + length :].decode()
                        self._events.put(Event(now, "text", {"node": node, "text": text}))
                else:
                    event = json.loads(message)
                    self._events.put(Event(now, event["type"], event["data"]))
        except OSError:
            pass
        self._events.put(Event(time.monotonic(), "closed", {}))


class WebSocket:
    """What a server sends over a websocket (RFC 6455). Sends nothing but the handshake and answers to pings."""

    CONTINUATION, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9

    def __init__(self, host: str, port: int, path: str):
        self._socket = socket.create_connection((host, port))
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline()
        if b" 101 " not in status:
            raise ConnectionError(f"no websocket at {path}: {status.decode(errors='replace').strip()}")
        while self._stream.readline().strip():
            pass  # the other headers

    def messages(self) -> Iterator[str | bytes]:
        """Whole messages, text as str and binary as bytes, until the server closes."""
        message, is_text = b"", False
        while (frame := self._frame()) is not None:
            is_final, opcode, payload = frame
            if opcode == self.CLOSE:
                return
            if opcode == self.PING:
                self._pong(payload)
            elif opcode in (self.CONTINUATION, self.TEXT, self.BINARY):
                is_text = opcode == self.TEXT if opcode != self.CONTINUATION else is_text
                message += payload
                if is_final:
                    yield message.decode() if is_text else message
                    message = b""

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the reader, too
        except OSError:
            pass  # the server was faster
        self._socket.close()

    def _frame(self) -> tuple[bool, int, bytes] | None:
        head = self._stream.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        if length > 125:
            length = int.from_bytes(self._stream.read(2 if length == 126 else 8), "big")
        return bool(head[0] & 0x80), head[0] & 0x0F, self._stream.read(length)

    def _pong(self, payload: bytes) -> None:
        mask = bytes(4)  # a client has to mask; zeros leave the payload as it is
        self._socket.sendall(bytes([0x8A, 0x80 | len(payload)]) + mask + payload)
