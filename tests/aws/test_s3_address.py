"""S3 addresses: one parser for flags, folders and single objects, and what it rejects."""

from __future__ import annotations

import dataclasses

import pytest

from petbox.aws.names import S3Address, check_s3, is_s3
from petbox.aws.s3 import address_of, folder_at
from petbox.errors import DataError


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://pets", "pets", ""),
        ("s3://pets/", "pets", ""),
        ("s3://pets/cat.jpg", "pets", "cat.jpg"),
        ("s3://pets/in/", "pets", "in/"),
        ("s3://pets/in//cat.jpg", "pets", "in//cat.jpg"),
        ("s3://pets//cat.jpg", "pets", "/cat.jpg"),
        ("s3://pets/my cat.jpg", "pets", "my cat.jpg"),
        ("s3://pets/Katze\u00e9\u732b.jpg", "pets", "Katze\u00e9\u732b.jpg"),
        ("s3://pets/s3://pets/x", "pets", "s3://pets/x"),
        ("s3://my.pets-2/x", "my.pets-2", "x"),
    ],
)
def test_bucket_and_key_are_split_and_joined_unchanged(text: str, bucket: str, key: str) -> None:
    address = S3Address.parse(text)
    assert (address.bucket, address.key) == (bucket, key)
    assert str(address) == (text if "/" in text.removeprefix("s3://") else f"{text}/")


@pytest.mark.parametrize("key", ["a" * 1015, "\u00e9" * 513])
def test_one_that_is_too_long_is_not_printed_whole(key: str) -> None:
    """SageMaker counts the characters of an address, S3 the bytes of a key."""
    with pytest.raises(DataError, match=r"^'s3://pets/.{50}…' has more than 1024 ch") as found:
        address_of(f"s3://pets/{key}")
    assert len(str(found.value)) < 200
    assert address_of(f"s3://pets/{key[:-1]}").key == key[:-1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3:",
        "s3:/x",
        "s3://",
        "s3:///key",
        "S3://pets/x",
        " s3://pets/x",
        "pets/x",
        "https://pets.s3.amazonaws.com/x",
        "s3://Pets/x",
        "s3://my pets/x",
        "s3://p\u00e9ts/x",
        "s3://pets\n/x",
        "s3://pe/x",
        "s3://-pets/x",
        f"s3://{'a' * 64}/x",
        "s3://pe..ts/x",
        "s3://192.168.0.1/x",
    ],
)
def test_anything_else_is_rejected_with_the_correct_form(text: str) -> None:
    for parse in (S3Address.parse, S3Address.parse_object, check_s3):
        with pytest.raises(ValueError, match=r"is not an S3 address; write it like s3://bucket/"):
            parse(text)
    with pytest.raises(DataError, match="is not an S3 address"):
        folder_at(text)


@pytest.mark.parametrize("text", ["s3://pets", "s3://pets/"])
def test_an_object_needs_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="has no key; write it like"):
        S3Address.parse_object(text)


@pytest.mark.parametrize("text", ["s3://pets/in", "s3://pets/in/", "s3://pets//in//"])
def test_a_folder_ends_in_one_slash(text: str) -> None:
    assert str(folder_at(text)) == "s3://pets/in/"
    assert str(folder_at(text) / "2") == "s3://pets/in/2/"


def test_the_folder_of_a_whole_bucket_has_no_key() -> None:
    assert folder_at("s3://pets/").key == ""


def test_an_address_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        S3Address("pets", "x").key = "y"  # type: ignore[misc]


def test_only_the_scheme_decides_what_is_meant_as_an_s3_address() -> None:
    assert is_s3("s3://Not A Bucket")
    assert not is_s3("s3:/pets/x")
    assert not is_s3("https://pets/s3://x")
