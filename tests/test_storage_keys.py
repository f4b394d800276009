"""Keys and addresses that a storage allows and a folder does not."""

import pytest

from maskbatch.errors import UsageError
from maskbatch.media.names import annotated_name, mark_twins
from maskbatch.media.storage import Remote
from maskbatch.media.storage.patience import patiently
from maskbatch.run.job import Job, run_job
from maskbatch.run.progress import Listener
from maskbatch.run.scan_options import ScanOptions
from maskbatch.types import Source


def source(name: str, position: int = 0) -> Source:
    return Source(id=position, path=Remote(f"s3://bucket/in/{name}"), name=name, kind="image")


def test_the_copy_of_a_long_key_has_a_name_that_can_be_written():
    """Parts of a key may be longer than names of files."""
    name = annotated_name(source("f" * 400 + "/" + "l" * 300 + ".jpg"))
    assert max(map(len, name.split("/"))) <= 255 and name.endswith(".jpg")


def test_a_key_may_be_file_and_folder():
    """The copy of a.jpg does not stand where a folder is needed for that of a.jpg/b.jpg."""
    first, second = map(annotated_name, mark_twins([source("a.jpg"), source("a.jpg/b.jpg", 1)]))
    assert not second.startswith(f"{first}/")


@pytest.mark.parametrize("address", ["s3://AKIA:abc/def@bucket/a.jpg", "https://me:a/b?c@host/a.jpg"])
def test_a_password_with_a_slash_is_not_shown(address):
    """Keys of AWS have slashes, which end the part of an address where passwords are looked for."""
    assert str(Remote(address)).split("://")[1] in ("bucket/a.jpg", "host/a.jpg")


@pytest.mark.parametrize("text", ["s3://bucket/a:b@c.jpg", "https://host:8080/a@b.jpg", "https://host/a:b@c.jpg"])
def test_names_that_look_like_passwords_stay(text):
    """A path may have the characters of a password."""
    assert str(Remote(text)) == text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/a#1.jpg", "s3://bucket/a#1.jpg"),
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        ("https://me:word@host/a.mp4?sig=1#t", "https://host/a.mp4"),
        ("az://box/a.mp4?sv=1&SIG=abc", "az://box/a.mp4"),
    ],
)
def test_names_keep_their_characters_and_lose_secrets(address, shown):
    """Names in a bucket may have marks that are a query on the web; what signs an address is cut."""
    assert str(Remote(address)) == shown and Remote(address).name == shown.rpartition("/")[2]


def test_workers_of_a_cluster_need_a_folder(tmp_path):
    """With Ray, an output at an address is refused: media would stay on the machines of the workers."""
    with pytest.raises(UsageError, match="that all machines see"):
        run_job(Job((tmp_path,), Remote("s3://bucket/out"), ScanOptions(engine="ray")), Listener())


def test_missing_credentials_are_named_at_once():
    """No pause gives them to the machine; a scan spent a minute on each request."""
    NoCredentialsError = type("NoCredentialsError", (Exception,), {})  # as botocore's
    tries = []

    def do():
        tries.append(None)
        raise NoCredentialsError

    with pytest.raises(PermissionError, match="no credentials"):
        patiently(do, [0, 0])
    assert len(tries) == 1
