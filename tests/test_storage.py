"""Inputs and outputs at addresses, against a real S3 server on this machine: `pip install s3fs 'moto[server]'`."""

import errno
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import makers
import numpy as np
import pytest
from killed_runs import SETTINGS, Hears, contents, make_inputs, networks

import maskbatch as mb
from maskbatch.errors import Interrupted, MaskbatchError, UsageError
from maskbatch.media.containers import open_container
from maskbatch.media.sources import find_sources
from maskbatch.media.storage import Remote, is_address, located, patience
from maskbatch.media.storage.remote import storage_of
from maskbatch.run import engine, local, quarantine, shard, working_folder
from maskbatch.run.stop import Stop
from maskbatch.run.working_folder import uploaded
from maskbatch.settings import SamplingSettings
from maskbatch.store.folder import prepared

moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
S3FileSystem = pytest.importorskip("s3fs").S3FileSystem
# each picture of a face is a request, and there are enough of them in a third of the frames
SAMPLING = SamplingSettings(every=3)


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server; its bucket is named `bucket`."""
    own = {"AWS_ACCESS_KEY_ID": "mykey", "AWS_SECRET_ACCESS_KEY": "mysecret", "AWS_DEFAULT_REGION": "us-east-1"}
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    own["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield own["AWS_ENDPOINT_URL"]
    running.stop()
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def inputs(server, tmp_path_factory):
    """A folder of this machine, whose files are in the bucket below `in`."""
    folder = make_inputs(tmp_path_factory.mktemp("s3") / "in")
    (folder / ".whole.mp4").unlink()
    for path in folder.rglob("*"):
        boto3.client("s3").upload_file(str(path), "bucket", f"in/{path.relative_to(folder).as_posix()}")
    return folder


@pytest.fixture(autouse=True)
def fakes(monkeypatch, tmp_path):
    """Networks that are small functions, no pauses, and a cache of its own."""
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", networks)
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {})
    monkeypatch.setattr(patience, "PAUSES_S", (0, 0, 0))
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "cache"))


def scan(paths, out, on_result=lambda *_: None, stop=None):
    """One session."""
    settings = replace(SETTINGS, sampling=SAMPLING, output=replace(SETTINGS.output, folder=out))
    driver = local.Driver(settings)
    with prepared(out, "resume") as (store, lock):
        driver.scan(driver.plan(store, find_sources(paths, None), paths), store, lock, stop or Stop(), Hears(on_result))


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """What a scan of the folder gives."""
    out = tmp_path_factory.mktemp("s3") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        for module in (engine, shard):
            patch.setattr(module, "open_networks", networks)
        scan([inputs], out)
    return contents(out)


def test_a_bucket_gives_the_bytes_of_a_folder(inputs, whole, tmp_path):
    """Tables and media of a scan by address are those of the same files on this machine."""
    scan([Remote("s3://bucket/in")], tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    scan([Remote("s3://bucket/in")], tmp_path / "out", on_result=pytest.fail)  # all is done


def test_files_come_in_the_order_of_a_folder(server, tmp_path):
    """Natural order, hidden files, system folders, other kinds and output folders are as on this machine."""
    client = boto3.client("s3")
    for name in ("b/img10.jpg", "b/img2.jpg", "a.jpg", "B2/x.png", ".hidden.jpg", "@eaDir/t.jpg", "notes.txt", "z.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        makers.write_photo(path) if path.suffix in (".jpg", ".png") else path.write_bytes(b"text")
        client.upload_file(str(path), "bucket", f"order/{name}")
    there = find_sources([Remote("s3://bucket/order")], None)
    here = find_sources([tmp_path / "in"], None)
    assert [(one.name, one.kind) for one in there] == [(one.name, one.kind) for one in here] and len(here) == 5


def test_a_seek_reads_a_small_part_of_a_film(server, tmp_path, monkeypatch):
    """A frame from the middle of a fast-start film of over 60 MB costs at most eight blocks of a megabyte."""
    path, read = tmp_path / "film.mov", []
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mjpeg", rate=25, options={"qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj444p"
        for number in range(120):
            image = np.roll(noise, number, axis=0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj444p")))
        container.mux(stream.encode(None))
    size = path.stat().st_size
    boto3.client("s3").upload_file(str(path), "bucket", "film.mov")
    fetch = Remote._range
    monkeypatch.setattr(Remote, "_range", lambda self, start, end: read.append(end - start) or fetch(self, start, end))
    with open_container(Remote("s3://bucket/film.mov")) as container:
        stream = container.streams.video[0]
        container.seek(int(2 / stream.time_base), stream=stream)
        assert next(container.decode(stream)).time == pytest.approx(2, abs=0.05)
    assert size > 60e6 and 0 < len(read) <= 8, read


def flaky(monkeypatch, times):
    """Let every request for content fail so many times, in turn as throttled and as a broken connection."""
    failed = {}
    cat = S3FileSystem.cat_file

    def cat_file(self, path, start=None, end=None, **options):
        key = (path, start)
        failed[key] = failed.get(key, 0) + 1
        if failed[key] <= times:
            raise (ConnectionResetError("by peer"), OSError(16, "SlowDown: mysecret"))[failed[key] % 2]
        return cat(self, path, start=start, end=end, **options)

    monkeypatch.setattr(S3FileSystem, "cat_file", cat_file)
    forget_storages()
    return failed


def forget_storages():
    """Open storages anew: those that are open keep the methods that they have."""
    S3FileSystem.clear_instance_cache()
    storage_of.cache_clear()


def test_throttling_costs_tries_and_no_rows(inputs, whole, tmp_path, monkeypatch):
    """Each request fails three times before it is answered: the bytes are the same."""
    failed = flaky(monkeypatch, times=3)
    scan([Remote("s3://bucket/in")], tmp_path / "out")
    forget_storages()
    assert len(failed) > 9 and contents(tmp_path / "out") == whole


def test_a_dead_storage_is_no_fault_of_a_file(inputs, whole, tmp_path, monkeypatch):
    """Photos that cannot be fetched have a row that says so, without secrets; the next scan reads them again."""
    with monkeypatch.context() as patch:
        flaky(patch, times=999)
        scan([Remote("s3://bucket/in")], tmp_path / "out")
    forget_storages()
    text = (tmp_path / "out" / "files.csv").read_text()
    assert "the storage does not answer" in text and "mysecret" not in text
    scan([Remote("s3://bucket/in")], tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_results_go_to_a_bucket_and_another_machine_goes_on(inputs, whole, tmp_path, monkeypatch):
    """A machine dies in the middle; another one, with an empty cache, goes on from the last upload with the same bytes."""
    dead, seen, out = [], [], Remote("s3://bucket/out")
    upload, stop = working_folder._Copy.upload, Stop()
    monkeypatch.setattr(working_folder, "UPLOAD_EVERY_S", 0.4)
    monkeypatch.setattr(working_folder._Copy, "upload", lambda self: None if dead else upload(self))

    def die(*_):
        seen.append(None)
        if len(seen) == 12:
            time.sleep(1)  # for an upload
            dead.append(None)  # what happens from now on reaches the bucket no more
        stop.num_asked = int(len(seen) >= 16)

    with pytest.raises(Interrupted), uploaded(out) as folder:
        scan([Remote("s3://bucket/in")], folder, die, stop)
    dead.clear()
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "other machine"))
    again = []
    with uploaded(out) as folder:
        scan([Remote("s3://bucket/in")], folder, lambda _, result: again.extend(one.name for one, _ in result.ended))
        assert contents(folder) == whole and "a1.png" not in again and "z1.png" in again
    names = {"/".join(names) for names, _ in out.files()}
    assert set(whole) | {"scan.db", "run.json", "report.html"} <= names
    assert {name for name in names if ".part" in name or name.startswith(".")} == {".writer"}
    got = {name: (out / name).read_bytes() for name in whole}
    assert got == whole


def test_a_store_that_was_fetched_in_part_is_fetched_again(server, tmp_path, monkeypatch):
    """A disk that fills in the middle of the download leaves no store that the next scan would take for a whole one."""
    boto3.client("s3").put_object(Bucket="bucket", Key="fetched/scan.db", Body=b"whole")
    copy = working_folder._Copy(Remote("s3://bucket/fetched"), tmp_path / "out")

    def fills(path, content):
        path.open("wb").write(content[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", fills)
        with pytest.raises(OSError, match="No space left"):
            copy.fetch()
    copy.fetch()
    assert (tmp_path / "out/scan.db").read_bytes() == b"whole"


def test_a_machine_that_another_one_replaced_overwrites_nothing(inputs, whole, tmp_path, monkeypatch):
    """Two machines scan to one address: what the later one writes stays, and the earlier one says where its results are."""
    out, first = Remote("s3://bucket/both"), [Remote("s3://bucket/in/a1.png")]
    with (
        pytest.raises(MaskbatchError, match=r"another machine has begun to write there.*remove that folder"),
        uploaded(out) as early,
    ):
        scan(first, early)
        with monkeypatch.context() as other:
            other.setenv("MASKBATCH_CACHE", str(tmp_path / "other machine"))
            with uploaded(out) as late:
                scan([Remote("s3://bucket/in")], late)
    assert {name: (out / name).read_bytes() for name in whole} == whole and (early / "scan.db").exists()
    with pytest.raises(MaskbatchError, match="another machine"), uploaded(out):
        raise AssertionError("a scan would begin")
    shutil.rmtree(early)
    with uploaded(out) as folder:
        assert contents(folder) == whole


def test_files_that_were_deleted_at_the_address_are_uploaded_again(inputs, tmp_path):
    """The working folder remembers what it uploaded; a folder that somebody emptied is whole after the same command."""
    out, photo = Remote("s3://bucket/emptied"), [Remote("s3://bucket/in/a1.png")]
    with uploaded(out) as folder:
        scan(photo, folder)
    before = {"/".join(names) for names, _ in out.files()}
    for name in before:
        (out / name).remove()
    with uploaded(out) as folder:
        scan(photo, folder)
    assert {"/".join(names) for names, _ in out.files()} == before and any("annotated" in name for name in before)


def test_files_of_others_at_the_address_are_not_overwritten(inputs):
    """As in a folder of this machine; files with names of their own are no obstacle."""
    client = boto3.client("s3")
    client.put_object(Bucket="bucket", Key="taken/faces.csv", Body=b"mine")
    client.put_object(Bucket="bucket", Key="shared/notes.txt", Body=b"mine")
    words = r"taken holds faces\.csv, which is not from maskbatch"
    with pytest.raises(UsageError, match=words), uploaded(Remote("s3://bucket/taken")):
        raise AssertionError("a scan would begin")
    for _ in range(2):
        with uploaded(Remote("s3://bucket/shared")) as folder:
            scan([Remote("s3://bucket/in/a1.png")], folder)
    assert (Remote("s3://bucket/taken") / "faces.csv").read_bytes() == b"mine"
    assert (Remote("s3://bucket/shared") / "notes.txt").read_bytes() == b"mine"


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_a_name_that_is_not_utf8_keeps_no_result_from_the_address(inputs, tmp_path, monkeypatch):
    """Its copy has an escape in its name there, and its own name on the machine that continues."""
    shutil.copy(inputs / "a1.png", tmp_path / "bad\udcff.png")
    out = Remote("s3://bucket/bytes")
    with uploaded(out) as folder:
        scan([tmp_path / "bad\udcff.png"], folder)
    names = {"/".join(names) for names, _ in out.files()}
    assert "annotated/bad\\udcff.png" in names and "scan.db" in names
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "other machine"))
    with uploaded(out) as folder:
        scan([tmp_path / "bad\udcff.png"], folder, on_result=pytest.fail)  # all is done
    assert {"/".join(names) for names, _ in out.files()} == names


def test_an_empty_object_is_a_row_at_once(inputs, tmp_path, monkeypatch):
    """An empty photo and an empty film have the rows that they have on this machine, and are not tried again and again."""
    monkeypatch.setattr(patience, "PAUSES_S", (30,))
    for name in ("a.jpg", "b.mp4"):
        boto3.client("s3").put_object(Bucket="bucket", Key=f"empty/{name}", Body=b"")
    begun = time.monotonic()
    results = mb.scan("s3://bucket/empty", out=tmp_path / "out", save="none", runtime="openvino", device="cpu")
    assert results.summary.failed == 2 and time.monotonic() - begun < 15
    text = (tmp_path / "out" / "files.csv").read_text()
    assert text.count("file is empty") == 2


def test_secrets_of_an_address_are_stored_nowhere(inputs, server, tmp_path):
    """A signed address is read, and neither its signature nor a key is in any file of the results."""
    signed = boto3.client("s3").generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "in/a1.png"})
    assert "Signature" in signed
    results = mb.scan(signed, out=tmp_path / "out", save="annotated", runtime="openvino", device="cpu")
    assert results.summary.failed == 0 and len(results.files()) == 1
    for path in (tmp_path / "out").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert b"Signature" not in data and b"mykey" not in data and b"mysecret" not in data, path
    assert str(Remote("https://user:word@host/a.mp4?sig=1")) == "https://host/a.mp4"


def test_addresses_and_paths_are_told_apart(tmp_path, monkeypatch):
    """Drives of Windows, and files whose names look like addresses, are paths; an address without its package is named."""
    assert not is_address("C:\\night\\a.mp4") and not is_address("C:/night") and not is_address("a:b/c.mp4")
    assert is_address("s3://bucket/a") and is_address("https://host/a.mp4") and is_address("s3:/bucket/a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab:").mkdir()
    (tmp_path / "ab:" / "c.jpg").touch()
    assert located("ab:/c.jpg") == tmp_path.joinpath("ab:", "c.jpg").relative_to(tmp_path)
    with pytest.raises(UsageError, match=r"maskbatch\[gcs\]"):
        located("gs://bucket/a")
    with pytest.raises(UsageError, match="no storage"):
        located("quark://a/b")


def test_an_address_that_is_not_there_is_a_usage_error(server, tmp_path):
    """A folder that does not exist in the bucket is named, as one of this machine is."""
    with pytest.raises(UsageError, match="s3://bucket/nothing does not exist"):
        mb.scan("s3://bucket/nothing", out=tmp_path / "out")
