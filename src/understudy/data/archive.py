"""Downloads that resume and archives that stay inside their folder."""

import hashlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from understudy.errors import UserError

CHUNK = 1 << 20
TIMEOUT_SECONDS = 30
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206

Progress = Callable[[int, int], None]
"""Called with the bytes so far and in total, 0 where the server does not say."""


def fetch(target: Path, url: str, *, sha256: str | None = None, download_missing: bool = True) -> None:
    """Make sure that the folder `target` exists, by downloading and unpacking an archive if it does not.

    Args:
        target: The unpacked data.
        url: Where the archive is: a URL, also `file://`, or a path on this machine.
        sha256: Checksum of the archive in hexadecimal; None does not check.
        download_missing: Whether the network may be used.

    Raises:
        UserError: The archive cannot be had or is not what it should be; the message says what to put where.
    """
    if target.is_dir():
        return
    name = PurePosixPath(urlparse(url).path).name
    advice = f"put the unpacked {name} there"
    local = Path(url)
    if local.is_file():
        _verify(local, sha256)
        extract(local, target)
        return
    if not download_missing:
        raise UserError(f"{target} is missing: {advice}, or allow the download")
    archive = target.parent / name
    try:
        download(url, archive, sha256=sha256)
    except UserError as error:
        raise UserError(f"{target} is missing and {error}: {advice}") from error
    extract(archive, target)


def download(url: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None) -> None:
    """Download a file, resuming what an interrupted download has left in `<path>.part`.

    Args:
        url: http, https or file.
        path: Where the file goes, complete or not at all; nothing is done if it exists.
        sha256: Checksum in hexadecimal; None does not check.
        progress: Called after every MiB.

    Raises:
        UserError: The file cannot be downloaded or has another checksum.
    """
    if path.is_file():
        return
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _receive(url, part, progress)
    except (OSError, ValueError) as error:
        raise UserError(f"{url} could not be downloaded ({error})") from error
    _verify(part, sha256, remove=True)
    part.replace(path)


def extract(archive: Path, target: Path) -> None:
    """Unpack a zip or tar archive as the folder `target`, complete or not at all.

    A single folder in which an archive keeps everything becomes `target` itself.

    Args:
        archive: zip, or tar with any compression.
        target: The new folder.

    Raises:
        UserError: It is no such archive, or a member is a link, a device or outside the target.
    """
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _refuse(archive, ((member.filename, _is_plain(member)) for member in packed.infolist()))
                packed.extractall(part)
        else:
            with tarfile.open(archive) as packed:
                _refuse(archive, ((member.name, member.isfile() or member.isdir()) for member in packed))
                packed.extractall(part, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"cannot unpack {archive} ({error}): remove it and download it again") from error
    inside = list(part.iterdir())
    only = inside[0] if len(inside) == 1 and inside[0].is_dir() else part
    only.replace(target)
    shutil.rmtree(part, ignore_errors=True)


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "understudy", **({"Range": f"bytes={offset}-"} if offset else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()
        _receive(url, part, progress)
        return
    with response:
        # A server that ignores the range sends everything again.
        received = offset if response.status == PARTIAL_CONTENT else 0
        total = received + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if received else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                if progress is not None:
                    progress(received, total)
    if received < total:
        raise OSError(f"the connection broke after {received} of {total} bytes, run again to resume")


def _verify(path: Path, sha256: str | None, *, remove: bool = False) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256.lower():
        return
    if remove:
        path.unlink()
    raise UserError(f"{path.name.removesuffix('.part')} has SHA-256 {found} instead of {sha256}")


def _is_plain(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)
    return kind in (0, stat.S_IFREG, stat.S_IFDIR)


def _refuse(archive: Path, members: Iterable[tuple[str, bool]]) -> None:
    for name, is_plain in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise UserError(f"{archive} has a member outside the target, '{name}': do not use this archive")
        if not is_plain:
            raise UserError(f"{archive} has a link or device, '{name}': do not use this archive")
