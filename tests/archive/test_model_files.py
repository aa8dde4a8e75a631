"""botocore over our files does what it does over its own."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.client import Config
from botocore.loaders import create_loader

from rushes.shared.storage import model_files


def session(ours: bool) -> Any:
    made = botocore.session.Session()
    if ours:
        made.register_component("data_loader", model_files.loader(None))
    made.set_credentials("key", "secret")
    return made


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "xx-nowhere-1"])
@pytest.mark.parametrize("service", ["s3", "sts"])
def test_a_client_has_the_same_address_and_operations(service: str, region: str) -> None:
    clients = [session(ours).create_client(service, region_name=region) for ours in (True, False)]
    ours, theirs = ((c.meta.endpoint_url, c.meta.partition, c.meta.method_to_api_mapping) for c in clients)
    assert ours == theirs


def without_documentation(part: Any) -> Any:
    if isinstance(part, list):
        return [without_documentation(value) for value in part]
    if not isinstance(part, dict):
        return part
    return {
        name: "" if name == "documentation" and isinstance(value, str) else without_documentation(value)
        for name, value in part.items()
    }


@pytest.mark.parametrize(
    ("service", "kind"), [("s3", "service-2"), ("sts", "service-2"), ("s3", "endpoint-rule-set-1")]
)
def test_a_model_is_the_same_without_its_documentation(service: str, kind: str) -> None:
    ours, theirs = create_loader(), create_loader()  # of their own: a client writes into the model that it is made of
    ours.file_loader = model_files.ModelFiles()
    assert ours.load_service_model(service, kind) == without_documentation(theirs.load_service_model(service, kind))


@pytest.mark.parametrize("bucket", ["clips", "with.dots", "arn:aws:s3:us-east-1:123456789012:accesspoint/clips"])
def test_a_link_has_the_same_address(bucket: str) -> None:
    def link(ours: bool) -> str:
        s3 = session(ours).create_client("s3", region_name="us-east-1", config=Config(signature_version="s3v4"))
        url: str = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a/b"})
        return url.partition("?")[0]

    assert link(ours=True) == link(ours=False)


@pytest.mark.parametrize("region", ["eu-central-1", "cn-north-1"])
def test_the_partition_of_a_region_is_the_same(region: str) -> None:
    assert session(True).get_partition_for_region(region) == session(False).get_partition_for_region(region)


def test_models_of_the_user_are_found_first(tmp_path: Any) -> None:
    (tmp_path / "own" / "2026-01-01").mkdir(parents=True)
    (tmp_path / "own" / "2026-01-01" / "service-2.json").write_text('{"metadata": {}}')
    assert model_files.loader(str(tmp_path)).load_service_model("own", "service-2") == {"metadata": {}}
