"""Images as a user has them, made ready to be sent to any detector.

JPEG and PNG files are sent as they are, byte for byte, and are not decoded here: the detector does
that and reports what it cannot read. Any other format is converted to JPEG, and so is a photo whose
EXIF orientation says to turn it, because many detectors look at the pixels as they are stored and
boxes must fall where a person sees the animal.
"""

from __future__ import annotations

import glob
import io
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.errors import DataError, needs

needs("PIL", "client")

from PIL import ExifTags, Image, ImageOps  # noqa: E402  # after the check for the extra

from petbox.images import heic  # noqa: E402
from petbox.images.limits import MOST_PIXELS, most_of_jpeg  # noqa: E402

STDIN = "-"
ADDRESS = re.compile(r"(https?|s3)://", re.IGNORECASE)
# What counts as an image in a folder. Formats that Pillow cannot read are included, so that they
# are reported instead of skipped.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp"),
    *(".webp", ".tif", ".tiff", ".jp2", ".avif", ".heic", ".heif"),
)
SENT_AS_THEY_ARE = ("JPEG", "MPO", "PNG")
TURNED = range(2, 9)  # the EXIF orientations that change anything
ON_ITS_SIDE = range(5, 9)  # those that swap width and height
# How a complete file ends; and what marks a PNG that may have to be turned, even behind its pixels.
LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
MAY_BE_TURNED = (b"eXIf", b"exif", b"XML:com.adobe.xmp")
AS_GOOD_AS_THE_ORIGINAL = {"quality": 95, "subsampling": 0}
ARRAYS = {(): "L", (3,): "RGB", (4,): "RGBA"}  # Pillow's modes by an array's channels


@dataclass(frozen=True)
class Photo:
    """An image ready to be sent; width and height are those of the upright image."""

    name: str
    encoded: bytes
    width: int
    height: int

    def decode(self) -> Image.Image:
        """The upright image, in 8-bit RGB."""
        with _decoding(self.name):
            return _rgb(self.name, Image.open(io.BytesIO(self.encoded)))


# Which images


def list_images(arguments: Iterable[str]) -> list[str]:
    """The images that files, folders, patterns, addresses and `-` stand for, without repeats.

    A folder stands for the images directly in it, in alphabetical order.
    """
    return list(dict.fromkeys(name for argument in arguments for name in _expand(argument)))


def _expand(argument: str) -> Iterator[str]:
    path = Path(argument)
    if not argument:  # an unset variable of the shell, and not the current folder
        raise DataError("'': an empty name; name an image or a folder")
    if argument == STDIN or ADDRESS.match(argument) or path.is_file():
        yield argument
    elif path.is_dir():
        yield from _in_folder(path)
    elif glob.has_magic(argument):
        yield from _matching(argument)
    elif path.exists():
        raise DataError(f"{argument}: neither a file nor a folder; send the image to stdin with -")
    else:
        raise DataError(f"{argument}: no such file or folder; check the path")


def _in_folder(folder: Path) -> list[str]:
    try:
        found = [str(path) for path in sorted(folder.iterdir()) if _looks_like_image(path)]
    except OSError as error:
        raise _unreadable(str(folder), error) from error
    if not found:
        raise DataError(
            f"{folder}: no image in this folder; for images in its subfolders quote a pattern: "
            f"'{folder}/**/*.jpg'"
        )
    return found


def _matching(pattern: str) -> list[str]:
    found = [name for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        raise DataError(f"{pattern}: no file matches this pattern; check its folder and suffix")
    return found


def _looks_like_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


# What is sent


def read(name: str, *, shrink: bool = False) -> Photo:
    """The image in the file `name`, or on stdin for `-`.

    `shrink` also accepts a JPEG of too many pixels, and decodes it with fewer.
    """
    if name == STDIN:
        return from_bytes(name, sys.stdin.buffer.read(), shrink=shrink)
    try:
        encoded = Path(name).read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from error
    return from_bytes(name, encoded, shrink=shrink)


def _unreadable(name: str, error: OSError) -> DataError:
    if isinstance(error, IsADirectoryError):  # also of "", which is the current folder
        return DataError(f"{name or repr(name)}: is a folder; give an image in it")
    advice = "path" if isinstance(error, FileNotFoundError) else "permissions"
    reason = (error.strerror or str(error)).lower()
    return DataError(f"{name}: cannot be read ({reason}); check the {advice}")


def from_bytes(name: str, encoded: bytes, *, shrink: bool = False) -> Photo:
    """The image in `encoded`, a whole file.

    A file that is sent as it is was checked at its start and end only; any other was decoded.
    """
    if not encoded:
        raise DataError(f"{name}: is empty; send an image")
    heic.prepare(name, encoded)
    with _decoding(name):
        image = Image.open(io.BytesIO(encoded))
        width, height = image.size
        allowed = _pixels(image) <= _most_pixels(image)
        may_go = image.format in SENT_AS_THEY_ARE and allowed
        if may_go and not (shrink and _is_huge(image)) and _goes_as_it_is(image, encoded):
            return Photo(name, encoded, width, height)
        shrunk = (shrink or allowed) and _decodes_smaller(image)
        _reject_huge(name, image)
        keeps_format = image.format in SENT_AS_THEY_ARE and not shrunk
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        image.load()
        ready = ImageOps.exif_transpose(image)
        if not keeps_format or orientation in TURNED:
            encoded = _jpeg(name, ready)
    if not shrunk:
        width, height = ready.size
    elif orientation in ON_ITS_SIDE:
        width, height = height, width
    return Photo(name, encoded, width, height)


def from_image(name: str, image: Image.Image) -> Photo:
    """A Pillow image, turned upright if its EXIF orientation says so."""
    if not _pixels(image):
        raise DataError(f"{name}: is {image.width}x{image.height}; send an image with pixels")
    with _decoding(name):
        _reject_huge(name, image)
        ready = ImageOps.exif_transpose(image)
        return Photo(name, _jpeg(name, ready), *ready.size)


def from_array(name: str, array: Any) -> Photo:
    """A numpy array of uint8, height x width, with no channel, 3 (RGB) or 4 (RGBA)."""
    shape = tuple(array.shape)
    mode = ARRAYS.get(shape[2:]) if len(shape) > 1 else None
    if str(array.dtype) != "uint8" or mode is None:
        raise DataError(
            f"{name}: an array of {array.dtype} with shape {shape}; make it uint8 with shape "
            "(height, width), (height, width, 3) in RGB or (height, width, 4) in RGBA"
        )
    if 0 in shape:
        raise DataError(f"{name}: an array with shape {shape}; send an image with pixels")
    return from_image(name, Image.frombytes(mode, (shape[1], shape[0]), array.tobytes()))


_lock = threading.Lock()
_decoders = 0  # threads that decode right now
_silence = ExitStack()


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns whatever Pillow's decoders raise into a DataError, and silences their warnings.

    Those are about odd metadata, and about sizes that are rejected here. Filters are global, so the
    first thread in sets them and the last one out restores them.
    """
    global _decoders
    with _lock:
        if not _decoders:
            _silence.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _decoders += 1
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{name}: cannot be decoded ({_reason(error)}); replace it") from error
    finally:
        with _lock:
            _decoders -= 1
            if not _decoders:
                _silence.close()


def _goes_as_it_is(image: Image.Image, encoded: bytes) -> bool:
    """Whether there is no reason to decode the file; an unusual end is one."""
    form = "PNG" if image.format == "PNG" else "JPEG"
    if not encoded.endswith(LAST_BYTES[form]):
        return False
    if form == "PNG":  # Pillow would decode it to see what comes after its pixels
        return not any(mark in encoded for mark in MAY_BE_TURNED)
    return image.getexif().get(ExifTags.Base.Orientation) not in TURNED


def _decodes_smaller(image: Image.Image) -> bool:
    """Has a JPEG of too many pixels decoded with fewer, so that they never take up memory."""
    if not _can_be_halved(image):
        return False
    share = next((n for n in (1, 2, 4, 8) if _pixels(image) <= n * n * MOST_PIXELS), 1)
    if share > 1:
        image.draft("RGB", (image.width // share, image.height // share))
    return share > 1


def _can_be_halved(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO") and not image.info.get("progressive")


def _most_pixels(image: Image.Image) -> int:
    return most_of_jpeg(MOST_PIXELS) if _can_be_halved(image) else MOST_PIXELS


def _is_huge(image: Image.Image) -> bool:
    return _pixels(image) > MOST_PIXELS


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def _reject_huge(name: str, image: Image.Image) -> None:
    """By its header, before memory is spent on it."""
    if _is_huge(image):
        most = _most_pixels(image) // 10**6
        raise DataError(
            f"{name}: {image.width}x{image.height} are more than {most} million pixels; "
            "scale it down"
        )


def _jpeg(name: str, image: Image.Image) -> bytes:
    file = io.BytesIO()
    _rgb(name, image).save(file, "JPEG", **AS_GOOD_AS_THE_ORIGINAL)
    return file.getvalue()


def _rgb(name: str, image: Image.Image) -> Image.Image:
    """In 8-bit RGB, with transparent pixels on white."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: its pixels have 32 bits; save it with 8 bits a color")
    if image.has_transparency_data:
        visible = image.convert("RGBA")
        white = Image.new("RGBA", visible.size, "white")
        return Image.alpha_composite(white, visible).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's reason; without the address of the buffer it was read from."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"Image size \((\d+) pixels\) exceeds .*", r"\1 pixels are too many", text)
    return re.sub(r"cannot identify image file .*", "not an image that Pillow knows", text)
