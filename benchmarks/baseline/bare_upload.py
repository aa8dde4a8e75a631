"""Standard input to one S3 object by a bare multipart upload: one part after the other, boto3, nothing checked.

Prints the seconds from its first byte to the end; its own start is not counted.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import boto3

PART_BYTES = 8 << 20


def main() -> None:
    s3: Any = boto3.client("s3")
    stdin = sys.stdin.buffer
    where = {"Bucket": os.environ["RUSHES_S3_BUCKET"], "Key": sys.argv[1]}
    part, began_at = stdin.read(PART_BYTES), time.monotonic()
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    parts: list[Any] = []
    while part:
        number = len(parts) + 1
        parts.append({"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=part)["ETag"]})
        part = stdin.read(PART_BYTES)
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    print(time.monotonic() - began_at)


if __name__ == "__main__":
    main()
