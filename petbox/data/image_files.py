"""Image files as records keep them: valid JPEG or plain PNG, all else converted to JPEG.

A file goes in byte for byte where it can. Cameras store a photo as it fell and note in EXIF how
to turn it; TensorFlow does not look there, so what the boxes were drawn on must be what is
stored. `turned` says it:

    ignore     boxes are of the pixels as they are stored, as all of Oxford-IIIT Pet's
    follow     boxes are of the photo as people see it
    by-size    the annotation's width and height tell; where they cannot, the run stops

What cannot be decoded is rejected, never fixed.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from petbox.data.annotations import Photo
from petbox.errors import DataError, needs

needs("PIL", "client")

from PIL import ExifTags, Image  # noqa: E402  # after the check for the extra

from petbox.images import photos  # noqa: E402  # it needs Pillow too

ON_ITS_SIDE = range(5, 9)  # the EXIF orientations that swap width and height
MADE_JPEG = "made JPEG, was {}"
TURNED = "turned upright as its EXIF says"


@dataclass(frozen=True)
class Stored:
    """An image file as its record holds it, and what was changed, if anything."""

    encoded: bytes
    format: str  # jpeg or png
    change: str | None = None


def stored(photo: Photo, turned: str) -> Stored:
    """The photo's file, once it has proved to decode to its last pixel and to be of its size."""
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


def _content(photo: Photo) -> bytes:
    try:
        return photo.path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{photo.path}: no such file, but {photo.annotation} names it; fetch it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{photo.path}: cannot be read ({error.strerror}); check its rights"
        ) from error


def _opened(photo: Photo, encoded: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        image.getexif()
    except Image.DecompressionBombError as error:
        raise _huge(photo, "far") from error
    except Exception as error:  # as above
        raise _broken(photo, encoded, error) from error
    if image.width * image.height > photos.MOST_PIXELS:
        raise _huge(photo, f"{image.width}x{image.height},")
    return image


def _check_with_tensorflow(photo: Photo, encoded: bytes) -> None:
    """Of damaged JPEGs it refuses one in a hundred that Pillow takes, in the midst of training."""
    from petbox.tf import tf

    try:
        tf.io.decode_image(encoded, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise _broken(photo, encoded, DataError("its data are damaged")) from error


def _plain(image: Image.Image) -> bool:
    """Whether TensorFlow sees in a PNG what a person does."""
    return image.mode in ("L", "RGB") and not image.has_transparency_data


def _to_be_turned(photo: Photo, size: tuple[int, int], orientation: int, turned: str) -> bool:
    says, upright = (photo.width, photo.height), size
    if orientation in ON_ITS_SIDE:
        upright = (size[1], size[0])
    if turned == "by-size" and orientation in photos.TURNED and says in (size, upright):
        if size == upright:
            raise DataError(
                f"{photo.path}: its EXIF turns it, and its size cannot tell whether its boxes "
                "were drawn on the turned photo; say --turned follow or --turned ignore"
            )
        return says == upright
    turn = turned == "follow" and orientation in photos.TURNED
    if says != (upright if turn else size):
        width, height = upright if turn else size
        raise DataError(
            f"{photo.annotation}: says {photo.width}x{photo.height}, but {photo.path} is "
            f"{width}x{height}; its boxes belong to another image; fetch both again"
        )
    return turn


def _jpeg(photo: photos.Photo) -> bytes:
    file = io.BytesIO()
    photo.decode().save(file, "JPEG", **photos.AS_GOOD_AS_THE_ORIGINAL)
    return file.getvalue()


def _huge(photo: Photo, size: str) -> DataError:
    most = f"{photos.MOST_PIXELS // 10**6} million pixels"
    return DataError(f"{photo.path}: {size} more than the {most} a model takes; scale it down")


def _broken(photo: Photo, encoded: bytes, error: Exception) -> DataError:
    why = _one_line(error) if encoded else "it is empty"
    return Undecodable(
        f"{photo.path}: cannot be decoded ({why}); replace it, take it off the lists, or say "
        "--leave-out-broken"
    )


class Undecodable(DataError):
    """An invalid image; the one kind of error that --leave-out-broken skips."""


def _one_line(error: Exception) -> str:
    """Pillow's reason; without the address of the buffer it was read from."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"cannot identify image file .*", "it is not an image", text)
