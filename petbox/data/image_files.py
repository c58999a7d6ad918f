"""Image files as records keep them: valid JPEG or plain PNG, all else converted to JPEG.

A file is kept byte for byte if possible. Cameras store the pixels as the sensor read them and note
in EXIF how to turn them. TensorFlow ignores EXIF, so the stored pixels must be those that the boxes
were drawn on. `turned` tells which:

    ignore     the pixels as they are stored, as in all of Oxford-IIIT Pet
    follow     the image as people see it
    by-size    the annotation's width and height decide; where they cannot, it is an error

An invalid image is rejected, never fixed.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from petbox.data.annotations import Photo
from petbox.errors import DataError, needs

needs("PIL", "client")

from PIL import ExifTags, Image  # noqa: E402  # after the check for the extra

from petbox.images import heic, photos  # noqa: E402  # it needs Pillow too
from petbox.images.limits import MOST_PIXELS  # noqa: E402

MADE_JPEG = "made JPEG, was {}"
TURNED = "turned upright as its EXIF says"


@dataclass(frozen=True)
class Stored:
    """An image file as its record holds it, and what was changed, if anything."""

    encoded: bytes
    format: str  # jpeg or png
    change: str | None = None


def stored(photo: Photo, turned: str) -> Stored:
    """The image's file, after it was decoded completely and has the annotated size."""
    encoded = _content(photo)
    with _opened(photo, encoded) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turn = _to_be_turned(photo, image.size, orientation, turned)
        try:
            image.load()
        except Exception as error:  # Pillow's decoders raise whatever comes their way
            raise _broken(photo, encoded, error) from error
    if turn:
        return Stored(_jpeg(photos.from_bytes(str(photo.path), encoded)), "jpeg", TURNED)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        _check_with_tensorflow(photo, encoded)
        return Stored(encoded, "jpeg")  # an MPO is a JPEG with more images behind it
    if image.format == "PNG" and _plain(image) and photo.path.suffix.lower() == ".png":
        _check_with_tensorflow(photo, encoded)
        return Stored(encoded, "png")
    kept = photos.Photo(str(photo.path), encoded, *image.size)
    kind = image.format if image.format != "JPEG" else f"JPEG in {image.mode}"
    return Stored(_jpeg(kept), "jpeg", MADE_JPEG.format(kind))


def upright_size(photo: Photo) -> tuple[int, int]:
    """Width and height by the file's header, turned as its EXIF says."""
    with _opened(photo, _content(photo)) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        width, height = image.size
    return (height, width) if orientation in photos.ON_ITS_SIDE else (width, height)


def _content(photo: Photo) -> bytes:
    try:
        return photo.path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{photo.path}: no such file, but {photo.annotation} names it; fetch it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{photo.path}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def _opened(photo: Photo, encoded: bytes) -> Image.Image:
    heic.prepare(str(photo.path), encoded)
    try:
        image = Image.open(io.BytesIO(encoded))
        image.getexif()
    except Image.DecompressionBombError as error:
        raise _huge(photo, "far") from error
    except Exception as error:  # as above
        raise _broken(photo, encoded, error) from error
    if image.width * image.height > MOST_PIXELS:
        raise _huge(photo, f"{image.width}x{image.height},")
    return image


def _check_with_tensorflow(photo: Photo, encoded: bytes) -> None:
    """Of the damaged JPEGs that Pillow decodes, TensorFlow would fail on one in a hundred."""
    from petbox.tf import tf

    try:
        tf.io.decode_image(encoded, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise _broken(photo, encoded, DataError("its data are damaged")) from error


def _plain(image: Image.Image) -> bool:
    """Whether TensorFlow decodes a PNG to what a person sees."""
    return image.mode in ("L", "RGB") and not image.has_transparency_data


def _to_be_turned(photo: Photo, size: tuple[int, int], orientation: int, turned: str) -> bool:
    annotated = photo.width, photo.height
    upright = size[::-1] if orientation in photos.ON_ITS_SIDE else size
    if not photo.animals:  # no box can be the other way up
        turned = "by-size"
    if turned == "by-size" and orientation in photos.TURNED and annotated in (size, upright):
        if size == upright and photo.animals:
            raise DataError(
                f"{photo.path}: its EXIF turns it, and its size cannot tell whether its boxes "
                "were drawn on the turned image; choose --turned follow or --turned ignore"
            )
        return annotated == upright
    turn = turned == "follow" and orientation in photos.TURNED
    width, height = upright if turn else size
    if annotated != (width, height):
        raise DataError(
            f"{photo.annotation}: states {photo.width}x{photo.height}, but {photo.path} is "
            f"{width}x{height}; its boxes belong to another image; fetch both again"
        )
    return turn


def _jpeg(photo: photos.Photo) -> bytes:
    file = io.BytesIO()
    photo.decode().save(file, "JPEG", **photos.AS_GOOD_AS_THE_ORIGINAL)
    return file.getvalue()


def _huge(photo: Photo, size: str) -> DataError:
    most = f"{MOST_PIXELS // 10**6} million pixels"
    return DataError(f"{photo.path}: {size} more than the {most} records take; scale it down")


def _broken(photo: Photo, encoded: bytes, error: Exception) -> DataError:
    why = _one_line(error) if encoded else "it is empty"
    return Undecodable(
        f"{photo.path}: cannot be decoded ({why}); replace it, take it off the lists, or pass "
        "--leave-out-broken"
    )


class Undecodable(DataError):
    """An invalid image; the one kind of error that --leave-out-broken skips."""


def _one_line(error: Exception) -> str:
    """Pillow's reason; without the address of the buffer it was read from."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"cannot identify image file .*", "it is not an image", text)
