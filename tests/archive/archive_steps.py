"""What the archive's tests share."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

MIB = 1024 * 1024


def connect(endpoint: str, **config: Any) -> Any:
    settings = {"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "max_pool_connections": 20, **config}
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}, **settings),
    )
