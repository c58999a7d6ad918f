"""Images over Lambda's limit: a form to upload one to S3, and what has been uploaded.

Whoever has a form can upload one image to its key for a while, up to the size that it states. The
bucket deletes uploads after a day.
"""

from __future__ import annotations

import functools
import re
import uuid
from typing import Any

from petbox.aws import session
from petbox.cli.sizes import megabytes
from petbox.errors import DataError

PREFIX = "uploads/"
KEY = re.compile(f"{PREFIX}[0-9a-f]{{32}}")
SECONDS = 300  # to begin the upload
MISSING = ("AccessDenied", "NoSuchKey")  # the former without permission to list the bucket


class ImageUploads:
    def __init__(self, bucket: str, most: int) -> None:
        self._bucket, self._most = bucket, most

    def form(self) -> dict[str, Any]:
        """Where to post an image as the field `file`, after these fields; and its name here."""
        key = PREFIX + uuid.uuid4().hex
        size = ["content-length-range", 1, self._most]
        made = self._s3.generate_presigned_post(
            self._existing_bucket, key, Conditions=[size], ExpiresIn=SECONDS
        )
        return {**made, "upload": key}

    def read(self, key: str) -> bytes:
        if not KEY.fullmatch(key):
            raise DataError("upload: not one of this API; get one from POST /detect?upload=1")
        try:
            with session.calling(key):
                found = self._s3.get_object(Bucket=self._existing_bucket, Key=key)
                if found["ContentLength"] <= self._most:
                    return bytes(found["Body"].read())
        except session.Rejected as error:
            if error.code not in MISSING:
                raise
            raise DataError(
                f"{key}: nothing was uploaded, or a day ago; upload it again"
            ) from error
        raise DataError(f"{key}: has more than {megabytes(self._most)}; upload a smaller image")

    @property
    def _existing_bucket(self) -> str:
        if not self._bucket:
            raise DataError("this API takes no uploads; send a smaller image, or its url")
        return self._bucket

    @functools.cached_property
    def _s3(self) -> Any:
        """Made for the first upload, and `quick`, because API Gateway gives up after 29 s."""
        return session.Account().client("s3", quick=True, presigns=True)
