"""Downloads from a server on this machine that breaks off, starts again, or serves something else."""

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paddledistill.data import download, reading
from paddledistill.errors import UserError
from paddledistill.tasks import TASKS, Example

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any address; of the next answer only ``at_most`` bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.at_most, self.knows_ranges = CONTENT, None, True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/SST.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.knows_ranges else 0
        rest = self.server.content[start:]
        if wanted and self.server.knows_ranges:
            self.send_response(206 if rest else 416)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if self.server.at_most is None else rest[: self.server.at_most])
        self.server.at_most = None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_a_download_that_broke_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.at_most = 100_000
    target = tmp_path / "folder" / "SST.zip"
    with pytest.raises(
        UserError, match=r"cannot download .*broke off after 100,000 of 512,000 bytes.*0\.1 MB are kept, .*goes on"
    ):
        download.fetch(server.url, target, MD5)
    assert not target.exists()
    assert download.fetch(server.url, target, MD5).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]
    assert [path.name for path in target.parent.iterdir()] == ["SST.zip"]
    download.fetch(server.url, target, MD5)
    assert len(server.asked) == 2


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.at_most, server.knows_ranges = 100_000, False
    with pytest.raises(UserError):
        download.fetch(server.url, tmp_path / "a", MD5)
    assert download.fetch(server.url, tmp_path / "a", MD5).read_bytes() == CONTENT


def test_all_was_there_but_for_the_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    assert download.fetch(server.url, tmp_path / "a", MD5).read_bytes() == CONTENT


def test_something_else_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"has MD5 {MD5}, expected 123: nothing of it was kept"):
        download.fetch(server.url, tmp_path / "a", "123")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:10])
    assert download.fetch(server.url, tmp_path / "a", MD5).read_bytes() == CONTENT


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:9/a \(.*\)$"):
        download.fetch("http://127.0.0.1:9/a", tmp_path / "folder" / "a", MD5)
    assert list(tmp_path.iterdir()) == []


def test_no_network_and_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:10])
    with pytest.raises(UserError, match=rf"cannot download .*; {tmp_path}/a, which is there, is damaged"):
        download.fetch("http://127.0.0.1:9/a", tmp_path / "a", MD5)
    assert (tmp_path / "a").read_bytes() == CONTENT[:10]


@pytest.fixture
def glue_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, str]], None]:
    """Lets PaddleNLP, whose cache is empty, find a task's files on the server."""
    from paddlenlp.datasets import glue

    def offer(name: str, files: dict[str, str]) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            for path, text in files.items():
                file.writestr(path, text)
        server.content = archive.getvalue()
        content = glue.Glue.BUILDER_CONFIGS[name]
        monkeypatch.setitem(content, "url", server.url)
        monkeypatch.setitem(content, "md5", hashlib.md5(server.content).hexdigest())
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
        monkeypatch.setattr(glue, "DATA_HOME", str(tmp_path / "datasets"))

    return offer


def test_a_task_of_glue(server: Server, glue_server: Callable[[str, dict[str, str]], None]) -> None:
    """Broken off, gone on with, unpacked by PaddleNLP into its own cache, read."""
    glue_server("sst-2", {f"SST-2/{split}.tsv": f"sentence\tlabel\nof {split}\t1\n" for split in TASKS["sst-2"].files})
    server.at_most = 50
    with pytest.raises(UserError, match=r"no dev file for sst-2: tried .*, then a download \(.*broke off after 50 of"):
        reading.load_split(TASKS["sst-2"], "dev")
    assert reading.load_split(TASKS["sst-2"], "dev") == [Example("of dev", None, 1)]
    assert reading.load_split(TASKS["sst-2"], "train") == [Example("of train", None, 1)]
    assert server.asked == [None, "bytes=50-"]


def test_processes_download_one_after_another(
    server: Server, glue_server: Callable[[str, dict[str, str]], None], tmp_path: Path
) -> None:
    glue_server("sst-2", {f"SST-2/{split}.tsv": f"sentence\tlabel\nof {split}\t1\n" for split in TASKS["sst-2"].files})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: reading.load_split(TASKS["sst-2"], "dev"), range(4)))
    assert found == [[Example("of dev", None, 1)]] * 4
    assert server.asked == [None]


def test_both_dev_sets_of_mnli_after_a_download(glue_server: Callable[[str, dict[str, str]], None]) -> None:
    rows = "sentence1\tsentence2\tgold_label\na b\tc d\tneutral\n"
    glue_server("mnli", {f"MNLI/{file}": rows for file in TASKS["mnli"].files.values()})
    assert list(reading.load_dev_sets(TASKS["mnli"])) == ["dev", "dev_mismatched"]
