"""HEIC, the format of iPhones' photos: Pillow reads it where the package pillow-heif is installed.

Exported models and LiteRT detectors do not read it, and say so.
"""

from __future__ import annotations

from petbox.errors import DataError, MissingExtra, needs

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NOT_SUPPORTED = "is a HEIC image, which is not supported; send it as JPEG"


def is_heic(data: bytes) -> bool:
    """By its first bytes; AVIF has the same container."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS and b"avif" not in data[:64]


def reject(name: str, data: bytes) -> None:
    """For servers, whose clients cannot install what would read it."""
    if is_heic(data):
        raise DataError(f"{name}: {NOT_SUPPORTED}")


def prepare(name: str, data: bytes) -> None:
    """Has Pillow read the image file `data`, if it is HEIC."""
    if not is_heic(data):
        return
    try:
        pillow_heif = needs("pillow_heif")
    except MissingExtra as error:
        raise DataError(
            f"{name}: is a HEIC image; type: pip install pillow-heif, or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()  # again is as good as once
