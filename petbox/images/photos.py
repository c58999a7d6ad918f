"""Pictures as a person names them, made ready to be sent.

Arguments become paths (`find`), a path becomes a picture that any detector can take (`read`):
JPEG and PNG files go as they are, byte for byte, and are not decoded here: the detector does that
and says what it cannot read. Every other format is converted on purpose, and so is a photo that its
camera says to turn, for a detector looks at the pixels as they lie and its boxes must fall where
the eye sees the animal. Says nothing of what is in a picture.
"""

from __future__ import annotations

import glob
import io
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError, needs

needs("PIL", "client")

from PIL import ExifTags, Image, ImageOps  # noqa: E402  # after the check for the extra

STDIN = "-"
# What counts as a picture in a folder. Those that Pillow cannot read are here too: they are
# complained of and not passed over.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp"),
    *(".webp", ".tif", ".tiff", ".jp2", ".avif", ".heic", ".heif"),
)
MOST_PIXELS = 40_000_000  # what the exported model takes; tests/test_layout.py compares
SENT_AS_THEY_ARE = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png"}
TURNED = range(2, 9)  # the EXIF orientations that ask for something
ON_ITS_SIDE = range(5, 9)  # those that swap width and height
# How a whole file ends; and what a PNG has in it, even behind its pixels, that says how to turn it.
LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
MAY_BE_TURNED = (b"eXIf", b"exif", b"XML:com.adobe.xmp")
AS_GOOD_AS_THE_ORIGINAL = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Photo:
    """A picture ready to be sent; its size is that of the upright picture, its bytes are one."""

    name: str
    encoded: bytes
    content_type: str
    width: int
    height: int

    def seen(self) -> Image.Image:
        """As the eye sees it, in 8-bit RGB."""
        with _decoding(self.name):
            return _as_seen(self.name, Image.open(io.BytesIO(self.encoded)))


# Which


def find(arguments: Iterable[str]) -> list[str]:
    """The pictures that `arguments` name: files, folders, patterns, or `-`; each of them once.

    Of a folder the pictures that lie directly in it, in alphabetical order.
    """
    return list(dict.fromkeys(name for argument in arguments for name in _named_by(argument)))


def _named_by(argument: str) -> Iterator[str]:
    path = Path(argument)
    if argument == STDIN or path.is_file():
        yield argument
    elif path.is_dir():
        yield from _in_folder(path)
    elif glob.has_magic(argument):
        yield from _matching(argument)
    elif path.exists():
        raise DataError(f"{argument}: neither a file nor a folder; a picture may come in as `-`")
    else:
        raise DataError(f"{argument}: no such file or folder; check the path")


def _in_folder(folder: Path) -> list[str]:
    try:
        found = [str(path) for path in sorted(folder.iterdir()) if _looks_like_picture(path)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its rights") from error
    if not found:
        pattern = f"{folder}/**/*.jpg"
        raise DataError(
            f"{folder}: no picture in this folder; for those in its folders quote a pattern: "
            f"'{pattern}'"
        )
    return found


def _matching(pattern: str) -> list[str]:
    found = [name for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        raise DataError(f"{pattern}: no file matches this pattern; check its folder and ending")
    return found


def _looks_like_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


# What is sent


def read(name: str, *, shrink: bool = False) -> Photo:
    """The picture that `name` stands for, whole and upright.

    `shrink` takes a JPEG of too many pixels too, with fewer of them.
    """
    if name == STDIN:
        return photo(name, sys.stdin.buffer.read(), shrink=shrink)
    try:
        encoded = Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check its rights") from error
    return photo(name, encoded, shrink=shrink)


def photo(name: str, encoded: bytes, *, shrink: bool = False) -> Photo:
    """The picture in `encoded`, the whole of a file.

    What goes out as it came in has been looked at on both its ends only; all else was decoded.
    """
    if not encoded:
        raise DataError(f"{name}: is empty; send a picture")
    with _decoding(name):
        image = Image.open(io.BytesIO(encoded))
        width, height = image.size
        shrunk = shrink and _decodes_smaller(image)
        _refuse_huge(name, image)
        content_type = SENT_AS_THEY_ARE.get(image.format or "")
        if content_type and not shrunk and _goes_as_it_is(image, encoded):
            return Photo(name, encoded, content_type, width, height)
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        image.load()
        ready = ImageOps.exif_transpose(image)
        if content_type is None or shrunk or orientation in TURNED:
            encoded, content_type = _jpeg(name, ready), "image/jpeg"
    if not shrunk:
        width, height = ready.size
    elif orientation in ON_ITS_SIDE:
        width, height = height, width
    return Photo(name, encoded, content_type, width, height)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and of sizes refused by us
            yield
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever comes their way
        raise DataError(f"{name}: cannot be decoded ({_reason(error)}); replace it") from error


def _goes_as_it_is(image: Image.Image, encoded: bytes) -> bool:
    """Whether there is no reason to decode it; where its end is unusual there may be one."""
    form = "PNG" if image.format == "PNG" else "JPEG"
    if not encoded.endswith(LAST_BYTES[form]):
        return False
    if form == "PNG":  # Pillow would decode it to look for what comes after its pixels
        return not any(mark in encoded for mark in MAY_BE_TURNED)
    return image.getexif().get(ExifTags.Base.Orientation) not in TURNED


def _decodes_smaller(image: Image.Image) -> bool:
    """Has a JPEG of too many pixels decoded with fewer, which costs no memory for the others."""
    if image.format not in ("JPEG", "MPO") or image.info.get("progressive"):
        return False
    share = next((n for n in (1, 2, 4, 8) if _pixels(image) <= n * n * MOST_PIXELS), 1)
    if share > 1:
        image.draft("RGB", (image.width // share, image.height // share))
    return share > 1


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def _refuse_huge(name: str, image: Image.Image) -> None:
    """By what the header says, before memory is spent on it."""
    if _pixels(image) > MOST_PIXELS:
        raise DataError(
            f"{name}: {image.width}x{image.height} are more than {MOST_PIXELS // 10**6} million "
            "pixels; scale it down"
        )


def _jpeg(name: str, image: Image.Image) -> bytes:
    file = io.BytesIO()
    _as_seen(name, image).save(file, "JPEG", **AS_GOOD_AS_THE_ORIGINAL)
    return file.getvalue()


def _as_seen(name: str, image: Image.Image) -> Image.Image:
    """In 8-bit RGB, what can be seen through on white."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: its pixels are of 32 bits; save it with 8 bits a colour")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's reason; without the address of the buffer it was read from."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"cannot identify image file .*", "it is no picture that Pillow knows", text)
