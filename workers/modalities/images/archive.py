"""Reading an untrusted zip or tar: one entry at a time, in memory, never to disk. Knows nothing of pictures.

Nothing is extracted: names are only looked at, sizes are checked before anything is inflated, and a running counter
stops what inflates to more than it declared.
"""

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from service.errors import Rejected
from workers.modalities.images.spec import kind

ARCHIVES = {
    ".zip",
    ".tar",
    ".gz",
    ".tgz",
    ".bz2",
    ".tbz2",
    ".xz",
    ".txz",
    ".zst",
    ".7z",
    ".rar",
    ".jar",
    ".cab",
    ".iso",
}
CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What an archive may cost. Pictures are compressed already: an honest archive of them inflates to 1 to 3 times."""

    entries: int = 300_000
    entry_bytes: int = 64 << 20
    total_bytes: int = 64 << 30
    ratio: int = 100  # inflated bytes for one of the archive's, beyond the first `free_bytes`
    free_bytes: int = 256 << 20


@dataclass(frozen=True)
class Entry:
    """One file. `read` gives its bytes, as long as the archive is open; OSError where they are damaged."""

    name: str
    read: Callable[[], bytes]
    size: int  # inflated, as the archive says
    fraction: float  # of the archive that lies behind


class _Budget:
    """The running counter of inflated bytes."""

    def __init__(self, archive_bytes: int, limits: Limits) -> None:
        self.left = min(limits.total_bytes, max(limits.free_bytes, archive_bytes * limits.ratio))

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Rejected(
                "archive_too_large",
                "The archive inflates to far more than pictures do; pack only the pictures, or split it in several.",
            )


def _corrupt() -> Rejected:
    return Rejected("corrupt_file", "The archive is damaged or cut short; pack it again and upload it again.")


def _too_many(limits: Limits) -> Rejected:
    return Rejected(
        "archive_too_large", f"The archive has more than {limits.entries:,} entries; split it or leave out the rest."
    )


def safe_name(name: str) -> str:
    """The entry's name with forward slashes. Raises Rejected for one that points out of the archive."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain) or ".." in plain.split("/") or "\0" in plain:
        shown = name[:80].encode("unicode_escape").decode()
        raise Rejected(
            "unsafe_path", f"The archive has an entry whose name leads out of it: '{shown}'. Pack it again without."
        )
    return "/".join(part for part in plain.split("/") if part not in ("", "."))


def _refuse_link() -> Rejected:
    return Rejected("unsafe_path", "The archive has links or devices in it; pack the pictures themselves.")


def ignored(name: str) -> bool:
    """Whether an entry is what operating systems leave behind."""
    parts = PurePosixPath(name).parts
    return (
        not parts
        or any(part.startswith(".") or part == "__MACOSX" for part in parts)
        or parts[-1] in ("Thumbs.db", "desktop.ini")
    )


def _refuse_nested(name: str) -> None:
    if PurePosixPath(name.lower()).suffix in ARCHIVES:
        raise Rejected(
            "nested_archive", f"There is an archive inside the archive, '{name[:80]}'; unpack it and pack the pictures."
        )


def _central_directory(file: BinaryIO, size: int, limits: Limits) -> None:
    """Count the entries of a zip's directory before anything holds them all. Raises Rejected."""
    tail_size = min(size, 65_557)  # the end record with the longest comment
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise _corrupt()
    count, length = struct.unpack_from("<HI", tail, at + 10)
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        file.seek(min(size, struct.unpack_from("<Q", tail, at - 12)[0]))
        record = file.read(56)
        if len(record) < 56 or record[:4] != b"PK\x06\x06":
            raise _corrupt()
        count, length = struct.unpack_from("<QQ", record, 32)
    # An entry takes 46 bytes and its name; the length bounds what zipfile will read, whatever the stated count.
    if count > limits.entries or length > limits.entries * 512:
        raise _too_many(limits)
    if length > size:
        raise _corrupt()


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Names without the UTF-8 flag are read as cp437, though most tools write UTF-8 all the same."""
    name = info.orig_filename
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_zip(infos: list[zipfile.ZipInfo], limits: Limits, budget: _Budget) -> None:
    """Everything that the directory alone can tell. Raises Rejected."""
    if len(infos) > limits.entries:
        raise _too_many(limits)
    for info in infos:
        name = safe_name(_zip_name(info))
        if info.flag_bits & 0x41:
            raise Rejected("encrypted_archive", "The archive is encrypted; pack it again without a password.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _refuse_link()
        budget.spend(info.file_size)
        if not info.is_dir() and not ignored(name):
            _refuse_nested(name)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Rejected(
                    "unsupported_format", "The zip uses an unusual compression; pack it again with plain zip."
                )


def _zip_reader(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits, budget: _Budget
) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.file_size > limits.entry_bytes:
            raise OSError("larger than a picture may be")
        budget.spend(info.file_size)
        try:
            with archive.open(info) as file:
                data = file.read(info.file_size)  # without a length it would inflate first and cut after
                if len(data) < info.file_size:
                    raise EOFError
                return data
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
            struct.error,
        ) as error:
            raise OSError("damaged") from error

    return read


def _zip_entries(file: BinaryIO, size: int, limits: Limits) -> Iterator[Entry]:
    _central_directory(file, size, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, struct.error, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise _corrupt() from error
    infos = archive.infolist()
    _check_zip(infos, limits, _Budget(size, limits))
    budget = _Budget(size, limits)
    for index, info in enumerate(infos):
        name = safe_name(_zip_name(info))
        if not info.is_dir() and not ignored(name):
            yield Entry(name, _zip_reader(archive, info, limits, budget), info.file_size, index / len(infos))


class _Stream:
    """Bytes forward only, each counted; a short read is a cut archive."""

    def __init__(self, file: BinaryIO, inflate: bool, size: int, limits: Limits) -> None:
        self.raw, self.size = file, size
        self.source: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=file) if inflate else file
        self.budget = _Budget(size, limits)

    def take(self, count: int) -> bytes:
        try:
            data = self.source.read(count)
        except (EOFError, zlib.error, OSError) as error:
            raise _corrupt() from error
        if len(data) < count:
            raise _corrupt()
        self.budget.spend(count)
        return data

    def skip(self, count: int) -> None:
        while count > 0:
            step = min(count, CHUNK)
            self.take(step)
            count -= step

    @property
    def fraction(self) -> float:
        return self.raw.tell() / max(self.size, 1)


def _pax(data: bytes) -> dict[str, str]:
    """The records "length key=value" of an extended header."""
    found: dict[str, str] = {}
    while data:
        head, _, _ = data.partition(b" ")
        if not _is_number(head.decode("latin-1")) or not 0 < int(head) <= len(data):
            break
        record, data = data[len(head) + 1 : int(head) - 1], data[int(head) :]
        key, _, value = record.partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found


def _is_number(text: str) -> bool:
    """Whether `int` takes it: other scripts' digits are refused there, and so are thousands of digits."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _tar_headers(stream: _Stream, limits: Limits) -> Iterator[tuple[str, int, bytes]]:
    """(name, size, type) of each entry; the caller consumes its data and padding before asking for the next.

    tarfile's own reader keeps every header, and reads extended ones whole, however long they are; this one does not."""
    extended: dict[str, str] = {}
    for count in range(4 * limits.entries + 2):
        block = stream.take(512)
        if not any(block):
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _corrupt() from error
        if info.size < 0 or count > 4 * limits.entries:
            raise _corrupt() if info.size < 0 else _too_many(limits)
        if info.type in (b"L", b"K", b"x", b"g"):
            data = stream.take(-(-min(info.size, CHUNK) // 512) * 512)[: info.size]
            if info.size > CHUNK:
                raise _corrupt()
            if info.type == b"L":
                extended["path"] = data.rstrip(b"\0").decode("utf-8", "replace")
            elif info.type == b"x":
                extended.update(_pax(data))
            continue
        size = int(extended["size"]) if _is_number(extended.get("size", "")) else info.size
        yield extended.get("path", info.name), size, info.type
        extended = {}


def _tar_entries(file: BinaryIO, inflate: bool, size: int, limits: Limits) -> Iterator[Entry]:
    stream = _Stream(file, inflate, size, limits)
    for count, (stated, length, type_) in enumerate(_tar_headers(stream, limits)):
        if count >= limits.entries:
            raise _too_many(limits)
        name = safe_name(stated.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        if type_ in (b"1", b"2", b"3", b"4", b"6"):
            raise _refuse_link()
        regular = type_ in (b"0", b"\0", b"7") and not ignored(name)
        if regular:
            _refuse_nested(name)
        data = stream.take(length) if regular and length <= limits.entry_bytes else None
        if data is None:
            stream.skip(length)
        stream.skip(-length % 512)
        if regular:
            yield Entry(name, _tar_reader(data), length, stream.fraction)


def _tar_reader(data: bytes | None) -> Callable[[], bytes]:
    def read() -> bytes:
        if data is None:
            raise OSError("larger than a picture may be")
        return data

    return read


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Iterator[Entry]]:
    """The files of an archive in order, without what operating systems leave behind. Raises Rejected."""
    with path.open("rb") as file:
        head = file.read(512)
        if not head:
            raise Rejected("empty_file", "The file is empty; upload a zip or tar of pictures, or Parquet.")
        found = kind(head)
        if found is None:
            raise Rejected(
                "unsupported_format",
                "This is no zip, tar or Parquet; pack the pictures (PNG, JPEG, WebP, GIF or BMP) in an archive.",
            )
        file.seek(0)
        size = path.stat().st_size
        yield (
            _zip_entries(file, size, limits) if found == "zip" else _tar_entries(file, found == "tar.gz", size, limits)
        )
