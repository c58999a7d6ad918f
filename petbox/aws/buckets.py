"""Where a bucket is."""

from __future__ import annotations

from typing import Any

from petbox.aws import session


def region_of(s3: Any, **bucket: str) -> str | None:
    """None if there is no such bucket; `bucket` is HeadBucket's request."""
    what = f"bucket {bucket['Bucket']}"
    try:
        with session.calling(what):
            return str(s3.head_bucket(**bucket).get("BucketRegion", s3.meta.region_name))
    except session.Rejected as error:
        if error.code == "404":
            return None
        if error.code == "403":
            text = f"{what}: belongs to another account, or you may not see it; choose another"
            raise session.Rejected(text, error.code) from error
        raise
