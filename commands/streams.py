"""Standard output and error as the command writes to them: whoever reads them, or leaves, the job is done."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

_READER_LEFT = (errno.EPIPE, errno.EIO)  # a pipe's reader, `head` for one, has seen enough; a terminal was closed
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text that a terminal only shows: names and metadata of files may hold what would move its cursor, or worse."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


@contextmanager
def lasting_streams() -> Iterator[LastingStream]:
    """sys.stdout and sys.stderr that do not fail meanwhile; gives the first of them."""
    with ExitStack() as stack:
        out, err = (LastingStream(stream or stack.enter_context(_nowhere())) for stream in (sys.stdout, sys.stderr))
        stack.enter_context(redirect_stdout(PlainStream(out)))
        stack.enter_context(redirect_stderr(err))
        stack.callback(out.flush)
        yield out


class LastingStream:
    """A text stream that goes on without what cannot be written.

    Letters that its encoding lacks are written as escapes. error: the first one of writing, from which on nothing is.
    """

    def __init__(self, stream):
        self._stream, self.error = stream, None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def require_written(self) -> None:
        """Raise OSError where output was lost for another reason than that nobody reads it."""
        self.flush()
        if self.error is not None and self.error.errno not in _READER_LEFT:
            raise OSError(f"standard output: {self.error.strerror}. Files that the command wrote are there.")

    def _give_up(self, error: OSError) -> None:
        """The stream leads nowhere from now on, so that what it still holds does not fail at the process's end."""
        self.error = self.error or error
        try:
            number = self._stream.fileno()
        except io.UnsupportedOperation:  # no file of the system's
            return
        with _nowhere() as nowhere:
            os.dup2(nowhere.fileno(), number)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class PlainStream:
    """A stream of lines: without what would make a terminal do more than show them."""

    def __init__(self, stream: LastingStream):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(plain(text))

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def _nowhere():
    return open(os.devnull, "w", encoding="utf-8")
