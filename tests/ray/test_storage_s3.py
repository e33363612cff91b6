"""Storage on a server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer

from tests.ray.conftest import Profile, Spec
from tests.support.campaigns import answered, measured, threatspec
from tests.support.ray_heads import free_port
from tests.unit.test_ledger import a_plan, a_result
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Attempt, Ledger, Shipper, Storage, restore

pytestmark = pytest.mark.campaign


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server of this machine; its address and keys stand in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="campaigns")
    yield "s3://campaigns/kept"
    server.stop()


def test_files_segments_and_artefacts(bucket: str, tmp_path: Path) -> None:
    place = Storage(bucket)
    assert place.names() == []
    place.write("a.json", b"one")
    place.write("a.json", b"two")
    assert place.read("a.json") == b"two"
    place.child("sub").write("b", b"x")
    assert place.names() == ["a.json", "sub"]
    place.remove("a.json")
    assert "a.json" not in place
    store = ArtefactStore(place.child("artefacts")).owned("attack-1")
    name = store.save({"a": torch.arange(3)})
    assert torch.equal(ArtefactStore(place.child("artefacts")).load(name)["a"], torch.arange(3))
    with Ledger.create(tmp_path / "run", a_plan(2)) as ledger:
        shipper = Shipper(ledger.folder, place.child("plan"))
        ledger.record(a_result("generate-0"), Attempt("worker-1", 1.0, 2.0))
        shipper.ship()
        ledger.record(a_result("generate-1"), Attempt("worker-1", 2.0, 3.0))
        shipper.close()
        assert restore(place.child("plan"), tmp_path / "other") == 2
        with Ledger.open(tmp_path / "other") as other:
            assert other.attempts() == ledger.attempts()
            assert other.rows("generate-1") == ledger.rows("generate-1")
    place.remove_all()
    assert place.names() == []


def test_a_campaign_whose_weights_travel_through_s3(
    bucket: str, spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path = spec(replicates=1)
    out, plain = tmp_path / "a" / "run", tmp_path / "b" / "run"
    done = threatspec("run", path, "--out", out, "--runner", profile(storage=bucket))
    assert done.returncode == 1, done.stderr
    assert not (out / "artefacts").exists()
    assert threatspec("run", path, "--out", plain).returncode == 1
    assert measured(out) == measured(plain)
    again = tmp_path / "c" / "run"
    told = threatspec("run", path, "--out", again, "--runner", profile(storage=bucket))
    assert told.returncode == 1, told.stderr
    assert answered(again) == answered(out), "a finished campaign is taken from its storage"


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(ThreatspecError) as caught:
        Storage("s3://elsewhere/kept").write("a", b"x")
    assert caught.value.code == "TS-STORAGE"
    assert "s3://elsewhere/kept cannot be written" in caught.value.message


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ThreatspecError) as caught:
        Storage(bucket).write("a", b"x")
    assert caught.value.code == "TS-STORAGE"
    s3fs.S3FileSystem.clear_instance_cache()
