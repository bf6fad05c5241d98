"""Downloads resume and are checked; archives stay inside their folder."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from understudy.data.archive import download, extract, fetch
from understudy.errors import UserError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    ranges: list[str | None]
    cut: int | None = None
    honours_ranges = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.honours_ranges else 0
        if self.path == "/absent":
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.cut])
        return None

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: Server, name: str = "file.bin") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def test_download_reports_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    download(url(server), tmp_path / "sub" / "file.bin", sha256=SHA256, progress=lambda *now: seen.append(now))
    assert (tmp_path / "sub" / "file.bin").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file.bin"]


def test_broken_download_resumes(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    server.cut = 1000
    with pytest.raises(UserError, match="1000 of 1280000 bytes, run again to resume"):
        download(url(server), path, sha256=SHA256)
    assert not path.exists()
    server.cut = None
    download(url(server), path, sha256=SHA256)
    assert server.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_server_without_ranges(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:500])
    server.honours_ranges = False
    download(url(server), tmp_path / "file.bin", sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_too_long_part_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    download(url(server), tmp_path / "file.bin", sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"file.bin has SHA-256 {SHA256} instead of 00"):
        download(url(server), tmp_path / "file.bin", sha256="00")
    assert not list(tmp_path.iterdir())


def test_absent_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"):
        download(url(server, "absent"), tmp_path / "file.bin")


def test_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"here")
    download("http://127.0.0.1:1/file.bin", tmp_path / "file.bin")


def write_zip(path: Path, *names: str, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, "content")
    return path


def write_tar(path: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "top/a.txt"
            info.size = 7 if kind == tarfile.REGTYPE else 0
            packed.addfile(info, io.BytesIO(b"content"))
    return path


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_single_top_folder_becomes_the_target(tmp_path: Path, write: object) -> None:
    archive = write(tmp_path / "packed", "top/a.txt", "top/sub/b.txt")  # type: ignore[operator]
    (tmp_path / "target.part").mkdir()
    extract(archive, tmp_path / "target")
    assert (tmp_path / "target" / "sub" / "b.txt").read_text() == "content"
    assert sorted(os.listdir(tmp_path)) == ["packed", "target"]


def test_several_top_entries(tmp_path: Path) -> None:
    extract(write_zip(tmp_path / "packed", "a.txt", "b.txt"), tmp_path / "target")
    assert sorted(os.listdir(tmp_path / "target")) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../escaped", "top/../../escaped", "/escaped", "..\\escaped", "C:/escaped"])
def test_members_outside_are_refused(tmp_path: Path, write: object, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = write(inner / "packed", "top/a.txt", name)  # type: ignore[operator]
    with pytest.raises(UserError, match="outside the target") as caught:
        extract(archive, inner / "target")
    assert name in str(caught.value)
    assert os.listdir(tmp_path) == ["inner"]
    assert os.listdir(inner) == ["packed"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(UserError, match="link or device, 'top/odd'"):
        extract(write_tar(tmp_path / "packed", "top/odd", kind=kind), tmp_path / "target")


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="link or device"):
        extract(write_zip(tmp_path / "packed", "top/odd", mode=0o120777), tmp_path / "target")


def test_damaged_archive_leaves_no_target(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "packed", *(f"top/{number}" for number in range(500)))
    archive.write_bytes(archive.read_bytes()[:400])
    with pytest.raises(UserError, match="cannot unpack"):
        extract(archive, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_local_archive_is_verified(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "packed.zip", "top/a.txt")
    with pytest.raises(UserError, match="SHA-256"):
        fetch(tmp_path / "target", str(archive), sha256="00")
    assert archive.exists()
