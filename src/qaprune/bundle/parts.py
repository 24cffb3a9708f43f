"""One archive, split into parts of a fixed size, with digests. The same contents give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIXED_TIME = 946_684_800
"""Modification time of all files in an archive, 2000-01-01 UTC: digests depend on contents alone."""

Contents = Mapping[str, Path | bytes]
"""Path in the archive -> the file to pack, or its bytes."""


@dataclass
class Archive:
    """The digest of the whole (SHA-256, hexadecimal), and name -> digest of each part in order."""

    digest: str
    parts: dict[str, str] = field(default_factory=dict)


class _Parts(io.RawIOBase):
    """What is written goes to `part-001`, `part-002`, ... of at most `limit` bytes each."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self.whole = hashlib.sha256()
        self.digests: dict[str, str] = {}
        self._part: io.BufferedWriter | None = None
        self._digest = hashlib.sha256()
        self._left = 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        view = memoryview(data)
        self.whole.update(view)
        done = 0
        while done < len(view):
            if not self._left:
                self._end_part()
                self._part = (self.folder / f"part-{len(self.digests) + 1:03d}").open("wb")
                self._digest, self._left = hashlib.sha256(), self.limit
            piece = view[done : done + self._left]
            self._part.write(piece)
            self._digest.update(piece)
            self._left -= len(piece)
            done += len(piece)
        return len(view)

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self.digests[Path(self._part.name).name] = self._digest.hexdigest()
            self._part = None

    def close(self) -> None:
        self._end_part()
        super().close()


def write_parts(contents: Contents, folder: Path, limit: int) -> Archive:
    """Pack `contents` into parts of at most `limit` bytes in `folder`: one gzipped tar archive, split."""
    with (
        _Parts(folder, limit) as parts,
        gzip.GzipFile(filename="", mode="wb", fileobj=parts, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(contents):
            _add(archive, name, contents[name])
    return Archive(parts.whole.hexdigest(), parts.digests)


def _add(archive: tarfile.TarFile, name: str, source: Path | bytes) -> None:
    """Owners, times and most of the mode are this machine's affair: they stay out."""
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = FIXED_TIME, 0o644
    if isinstance(source, bytes):
        info.size = len(source)
        archive.addfile(info, io.BytesIO(source))
        return
    with source.open("rb") as file:
        status = source.stat()
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        archive.addfile(info, file)
