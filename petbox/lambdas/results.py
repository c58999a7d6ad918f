"""Images that arrive in S3, and their results beside them: results/KEY.json, each written once.

A result states which arrival of its key it belongs to, and S3 accepts it only if nothing else was
written since it was last read. So two functions write one result for the same image, and an older
arrival never replaces the result of a newer one. A failure is a result as well: only a newer
arrival, or an event that was moved back from the dead-letter queue, replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from petbox.aws import session
from petbox.cli.sizes import megabytes
from petbox.errors import DataError, ServiceError

ABSENT = ("404", "NoSuchKey", "NotFound")
CHANGED = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
ETAG, SEQUENCER, FAILED = "arrival-etag", "arrival-sequencer", "arrival-failed"  # in its metadata
LENGTH = 32  # of a sequencer: shorter ones are padded to compare (S3's documentation)
MOST_BYTES_OF_KEY = 1024  # S3's limit
ATTEMPTS = 10  # at a result that others write at the same time


@dataclass(frozen=True)
class Arrival:
    """An object that was created in a bucket, from an event."""

    bucket: str
    key: str
    etag: str
    sequencer: str = ""  # later ones are larger
    size: int = 0
    moved_back: bool = False  # from the dead-letter queue, so a failure is not final

    @staticmethod
    def of(record: Mapping[str, Any], moved_back: bool = False) -> Arrival:
        try:
            thing = record["s3"]["object"]
            return Arrival(
                bucket=record["s3"]["bucket"]["name"],
                key=unquote_plus(thing["key"]),  # S3 writes a space as + and non-ASCII as %C3
                etag=thing.get("eTag", ""),
                sequencer=thing.get("sequencer", "").rjust(LENGTH, "0"),
                size=int(thing.get("size", 0)),
                moved_back=moved_back,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"not a record from S3 about an object ({error!r})") from error

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def result_key(results: str, key: str) -> str:
    return f"{results}{key}.json"


def check_length(results: str, key: str, name: str) -> None:
    """Rejects a key whose result S3 would not take."""
    length = len(result_key(results, key).encode())
    if length > MOST_BYTES_OF_KEY:
        raise DataError(
            f"{name}: the key of its result would have {length} bytes, and S3 takes "
            f"{MOST_BYTES_OF_KEY}; choose a shorter name or prefix"
        )


def image(s3: Any, arrival: Arrival, most: int) -> bytes | None:
    """The image that arrived; None if it was removed or replaced."""
    same = {"IfMatch": arrival.etag} if arrival.etag else {}
    with session.calling(str(arrival), *ABSENT, *CHANGED):
        response = s3.get_object(Bucket=arrival.bucket, Key=arrival.key, **same)
        if response["ContentLength"] > most:
            raise DataError(
                f"{arrival}: has {megabytes(response['ContentLength'])}, and the limit is "
                f"{megabytes(most)}; scale it down"
            )
        return bytes(response["Body"].read())
    return None


class Results:
    """Results under a prefix of the images' own bucket."""

    def __init__(self, s3: Any, prefix: str) -> None:
        self._s3, self._prefix = s3, prefix

    def check(self, arrival: Arrival) -> None:
        """Rejects an arrival that can have no result."""
        check_length(self._prefix, arrival.key, str(arrival))

    def is_there(self, arrival: Arrival) -> bool:
        """Whether this arrival, or a later one of the same key, has its result."""
        current = self._current(arrival)
        return current is not None and _settles(current["Metadata"], arrival)

    def write(self, arrival: Arrival, result: Mapping[str, Any], jpeg: bytes | None = None) -> bool:
        """Writes the result, and the drawn image beside it; False if another was first."""
        if jpeg is not None:  # first, because the result signals that everything is there
            with session.calling(str(arrival)):
                self._s3.put_object(
                    Bucket=arrival.bucket,
                    Key=f"{self._prefix}{arrival.key}.jpg",
                    Body=jpeg,
                    ContentType="image/jpeg",
                )
        return self._put(arrival, {"picture": str(arrival), **result}, {})

    def write_failure(self, arrival: Arrival, reason: str) -> None:
        """Writes the reason as the result."""
        self._put(arrival, {"picture": str(arrival), "error": reason}, {FAILED: "true"})

    def _put(self, arrival: Arrival, result: Mapping[str, Any], more: Mapping[str, str]) -> bool:
        for attempt in range(ATTEMPTS):
            current = self._current(arrival) if attempt else None  # most have none
            if current is not None and _settles(current["Metadata"], arrival):
                return False
            unless = {"IfMatch": current["ETag"]} if current else {"IfNoneMatch": "*"}
            with session.calling(self._address(arrival), *ABSENT, *CHANGED):
                self._s3.put_object(
                    Bucket=arrival.bucket,
                    Key=result_key(self._prefix, arrival.key),
                    Body=json.dumps(result, ensure_ascii=False).encode(),
                    ContentType="application/json",
                    Metadata={ETAG: arrival.etag, SEQUENCER: arrival.sequencer, **more},
                    **unless,
                )
                return True
        raise ServiceError(
            f"{self._address(arrival)}: others keep writing it; use this prefix only once"
        )

    def _current(self, arrival: Arrival) -> Any:
        """S3's description of the result, if there is one."""
        with session.calling(self._address(arrival), *ABSENT):
            key = result_key(self._prefix, arrival.key)
            return self._s3.head_object(Bucket=arrival.bucket, Key=key)
        return None

    def _address(self, arrival: Arrival) -> str:
        return f"s3://{arrival.bucket}/{result_key(self._prefix, arrival.key)}"


def _settles(metadata: Mapping[str, str], arrival: Arrival) -> bool:
    """Whether a result with this metadata is final for the arrival."""
    sequencer = metadata.get(SEQUENCER, "")
    if sequencer > arrival.sequencer:
        return True
    if metadata.get(ETAG) != arrival.etag:
        return False
    failed = FAILED in metadata
    return not failed or (sequencer == arrival.sequencer and not arrival.moved_back)
