"""`lt-det download`."""

import hashlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from lt_det.cli import main
from lt_det.datasets.download import catalog
from tests.helpers import free_port
from tests.helpers.file_server import file_server


@pytest.fixture
def server():
    with file_server() as running:
        yield running


def run(capsys, *arguments):
    code = main(["download", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_dry_run_lists_everything_and_writes_nothing(capsys, tmp_path):
    code, out, err = run(capsys, "lvis", "--dry-run", "--out", tmp_path / "data")
    assert (code, err) == (0, "")
    assert "validation images are in COCO's train2017" in out
    assert re.search(r"19\.34 GB  http://images\.cocodataset\.org/zips/train2017\.zip\n.*data/coco/train2017", out)
    assert re.search(rf"https://dl\.fbaipublicfiles\.com/LVIS/lvis_v1_val\.json\.zip\n.*{tmp_path}/data/lvis", out)
    assert not (tmp_path / "data").exists()
    code, out, _ = run(capsys, "lvis", "--version", "v0.5", "--dry-run", "--out", tmp_path)
    assert "lvis_v0.5_train.json.zip" in out
    assert "not known" in out
    assert "validation images are in" not in out
    assert "test" not in out.replace(str(tmp_path), "")
    code, out, _ = run(capsys, "coco", "--test", "--dry-run", "--out", tmp_path)
    assert "test2017.zip" in out
    assert "lvis" not in out


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "wget", "sha256sum"))), reason="needs bash, wget and sha256sum")
@pytest.mark.parametrize("tool", ["wget", "curl"])
def test_commands_for_another_machine(capsys, tmp_path, monkeypatch, server, tool):
    """What the dry run prints, run as a shell script; then the command again, here without network."""
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    image = small_archive(server)
    monkeypatch.setattr(catalog, "coco_archives", lambda test: (image,))
    _, out, _ = run(capsys, "coco", "--dry-run", "--out", tmp_path / "data")
    script = "set -e\n" + out[out.index("# On a machine") :]
    if tool == "curl":
        script = script.replace("\nwget", "\n# wget").replace("\n# or: xargs", "\nxargs")
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    (tmp_path / "data").mkdir()
    (tmp_path / "downloads").rename(tmp_path / "data" / "downloads")
    server.requests.clear()
    code, out, err = run(capsys, "coco", "--out", tmp_path / "data")
    assert code == 0, err
    assert server.requests == []
    assert f"export DETECTRON2_DATASETS={tmp_path}/data" in out
    assert len(list((tmp_path / "data/coco/val2017").iterdir())) == 2
    for same in (f"{tmp_path}/data/", os.path.relpath(tmp_path / "data")):
        monkeypatch.setenv("DETECTRON2_DATASETS", same)
        assert "export" not in run(capsys, "coco")[1]
    code, out, err = run(capsys, "coco", "--dry-run", "--out", tmp_path / "data")
    assert "To download: 0 archives, 0 bytes" in out
    assert "wget" not in out


def small_archive(server):
    """An archive of two images on the server, as the catalog would list it."""
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as images:
        for number in range(2):
            images.writestr(f"val2017/{number:012}.jpg", b"jpeg" * 50_000)
    server.files["/zips/val2017.zip"] = data = content.getvalue()
    server.tags["/zips/val2017.zip"] = '"1"'
    found = next(archive for archive in catalog.coco_archives() if archive.name == "val2017.zip")
    sha256 = hashlib.sha256(data).hexdigest()
    return replace(found, url=f"{server.url}/zips/val2017.zip", images=2, size=len(data), sha256=sha256)


def test_errors(capsys, tmp_path, monkeypatch, server):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    code, _, err = run(capsys, "lvis")
    assert code == 1
    assert err.startswith("error: DETECTRON2_DATASETS is not set")
    image = small_archive(server)
    monkeypatch.setattr(catalog, "coco_archives", lambda test: (image,))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    server.errors = [(404, {})]
    code, _, err = run(capsys, "coco")
    assert code == 1
    assert re.fullmatch(r"error: .*val2017\.zip.* 404 .*\n", err)
    monkeypatch.setattr(catalog, "coco_archives", lambda test: (replace(image, sha256="0" * 64),))
    code, _, err = run(capsys, "coco")
    assert code == 1
    assert re.search(r"^error: .*val2017\.zip\.wrong", err, re.MULTILINE)
    nowhere = replace(image, url=f"http://127.0.0.1:{free_port()}/val2017.zip")
    monkeypatch.setattr(catalog, "coco_archives", lambda test: (nowhere,))
    code, _, err = run(capsys, "coco")
    assert code == 1
    assert re.fullmatch(r"error: .*cannot be reached.*\n", err)


COMMAND = """
import sys
from lt_det.cli import main
from lt_det.datasets.download import catalog
catalog.coco_archives = lambda test: (catalog.{archive},)
sys.exit(main(["download", "coco"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_keep_what_was_received(tmp_path, server, signum, code):
    archive = small_archive(server)
    command = COMMAND.format(archive=archive)
    environment = os.environ | {"DETECTRON2_DATASETS": str(tmp_path)}
    server.stalls = 100_000
    process = subprocess.Popen(
        [sys.executable, "-c", command],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a job of a shell's background
    )
    part = archive.file(tmp_path).with_name("val2017.zip.part")
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 100_000:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert re.search(r"Interrupted; what was received is kept.*\n\Z", err)
    assert part.stat().st_size == 100_000
    server.stalls = None
    subprocess.run([sys.executable, "-c", command], env=environment, check=True, capture_output=True, timeout=60)
    assert server.starts() == [0, 100_000]
    assert len(list((tmp_path / "coco/val2017").iterdir())) == 2


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights_config(tmp_path, name, weights):
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"MODEL: {{WEIGHTS: '{weights}'}}\n")
    return path


def test_weights(capsys, tmp_path, cache, server):
    server.files["/zoo/a.pkl"] = weights = pickle.dumps({"model": {"a": 1.0}, "__author__": "zoo"})
    remote = weights_config(tmp_path, "remote", f"{server.url}/zoo/a.pkl")
    local = weights_config(tmp_path, "local", "output/model_final.pth")
    none = weights_config(tmp_path, "none", "")
    bucket = weights_config(tmp_path, "bucket", "s3://zoo/model.pth")
    configs = ("--config", remote, local, none, bucket)
    code, out, _ = run(capsys, "weights", *configs, "--dry-run")
    assert code == 0
    assert server.requests == []
    assert "output/model_final.pth, a file that does not exist; nothing to download" in out
    assert re.search("s3://zoo/model.pth.* nothing to download", out)
    assert f"curl --fail --location --continue-at - --create-dirs --output zoo/a.pkl {server.url}/zoo/a.pkl" in out
    assert str(cache) in out
    code, out, err = run(capsys, "weights", *configs)
    assert code == 0, err
    assert (cache / "zoo/a.pkl").read_bytes() == weights
    code, out, _ = run(capsys, "weights", *configs)
    assert f"already at {cache}/zoo/a.pkl" in out
    assert len(server.requests) == 1
    code, out, _ = run(capsys, "weights", *configs, "--dry-run")
    assert "curl" not in out


def test_ftp_server_that_does_not_answer(capsys, tmp_path, cache):
    """Detectron2 downloads by FTP."""
    address = f"ftp://127.0.0.1:{free_port()}/zoo/a.pkl"
    code, _, err = run(capsys, "weights", "--config", weights_config(tmp_path, "ftp", address))
    assert code == 1
    assert re.search(f"^error: .*{address}", err, re.MULTILINE)


def test_weights_of_shipped_configs_are_where_detectron2_looks(capsys, cache):
    """R-50 of LVIS's configs, yaml and LazyConfig; Detectron2 must not need the network once it is there."""
    from detectron2.utils.file_io import PathManager

    configs = ("configs/lvis_eql.yaml", "configs/lazy/lvis_eql.py", "lvis_eql", "lazy/lvis_eql")
    code, out, _ = run(capsys, "weights", "--config", *configs, "--dry-run")
    assert code == 0
    assert out.count("-> ") == len(configs)
    address = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    name = re.search(rf"--output (\S+) {address}", out)[1]
    assert out.count("curl") == 1
    (cache / name).parent.mkdir(parents=True)
    (cache / name).write_bytes(b"weights")
    assert PathManager.get_local_path("detectron2://ImageNetPretrained/MSRA/R-50.pkl") == str(cache / name)


def test_weights_of_timm(capsys, tmp_path, cache):
    pytest.importorskip("timm")
    config = weights_config(tmp_path, "timm", "timm://resnet18.a1_in1k")
    code, out, _ = run(capsys, "weights", "--config", config, "--dry-run")
    assert code == 0
    command = "lt-det imagenet-weights timm/resnet18.a1_in1k.pth --model resnet18.a1_in1k"
    assert command in out
    (cache / "timm").mkdir(parents=True)
    (cache / "timm/resnet18.a1_in1k.pth").write_bytes(b"weights")
    code, out, _ = run(capsys, "weights", "--config", config, "--dry-run")
    assert command not in out
