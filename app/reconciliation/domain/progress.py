"""How much of a file was read so far, told by the file itself while others read it."""

import io
from typing import BinaryIO

PASSES = 3
"""How often a file is gone through: for its hash, for its proof, and for its lines."""


class Watched(io.RawIOBase):
    """A file that counts what is read from it. ``read_bytes`` grows evenly over all passes; ``read_lines`` are those of the present pass."""

    def __init__(self, content: BinaryIO) -> None:
        super().__init__()
        self._content = content
        self._passed = 0
        self.read_lines = 0

    @property
    def read_bytes(self) -> int:
        """How far it is, as if it were read once."""
        return self._passed // PASSES

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def seekable(self) -> bool:
        """It can be read again from its beginning."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """As the file itself reads."""
        return self._count(self._content.read(-1 if size is None else size))

    def readline(self, size: int | None = -1, /) -> bytes:
        """As the file itself reads a line."""
        return self._count(self._content.readline(-1 if size is None else size))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Begin another pass."""
        self.read_lines = 0
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        """Where the file is."""
        return self._content.tell()

    def _count(self, some: bytes) -> bytes:
        self._passed += len(some)
        self.read_lines += some.count(b"\n")
        return some
