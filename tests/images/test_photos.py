"""Images listed, and made ready to be sent."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from support.peer import GOLDEN, golden
from support.spots import stored

from petbox.errors import DataError
from petbox.images import photos

WIDE = (60, 40)
TOP_LEFT = (0, 0, 19, 13)  # in pixels of the upright image


def red_at_top_left(orientation: int) -> Image.Image:
    """A wide image stored as a camera does that was held in another way."""
    upright = Image.new("RGB", WIDE, "white")
    ImageDraw.Draw(upright).rectangle(TOP_LEFT, "red")
    return stored(upright, orientation)


def encoded(image: Image.Image, form: str, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    image.save(file, form, exif=exif, **options)  # type: ignore[arg-type]
    return file.getvalue()


def sent(photo: photos.Photo) -> Image.Image:
    return Image.open(io.BytesIO(photo.encoded))


# HEIC


def test_a_heic_image_is_sent_as_jpeg_if_pillow_heif_is_installed(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install pillow-heif")
    path = tmp_path / "IMG_0001.HEIC"
    heif = pillow_heif.from_pillow(red_at_top_left(1).resize((300, 200)))
    heif.save(path, quality=90)
    photo = photos.read(str(path))
    assert (photo.width, photo.height, sent(photo).format) == (300, 200, "JPEG")
    red, green, _ = sent(photo).getpixel((20, 20))  # type: ignore[misc]
    assert red > 200 and green < 60


def test_a_heic_image_names_the_package_that_reads_it() -> None:
    if importlib.util.find_spec("pillow_heif"):
        pytest.skip("it is installed")
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(
        DataError, match=r"^a\.heic: is a HEIC image; type: pip install pillow-heif"
    ):
        photos.from_bytes("a.heic", data)


# What is sent


@pytest.mark.parametrize(("name", "kind"), [("picture.jpg", "JPEG"), ("picture.png", "PNG")])
def test_jpeg_and_png_are_sent_untouched(name: str, kind: str) -> None:
    photo = photos.read(str(GOLDEN / name))
    assert photo.encoded == golden(name)
    assert sent(photo).format == kind


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_sent_upright(form: str, orientation: int) -> None:
    photo = photos.from_bytes("x", encoded(red_at_top_left(orientation), form, orientation))
    assert (photo.width, photo.height) == WIDE
    with sent(photo) as image:
        assert image.size == WIDE
        assert image.getexif().get(274, 1) == 1
        red, green, blue = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert (red > 200, green < 60, blue < 60) == (True, True, True)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    original = encoded(red_at_top_left(1), "JPEG", orientation)
    assert photos.from_bytes("x", original).encoded == original


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "GIF", "BMP", "JPEG2000"])
def test_formats_that_detectors_do_not_take_are_converted(form: str) -> None:
    photo = photos.from_bytes("x", encoded(red_at_top_left(1), form))
    assert photo.encoded.startswith(b"\xff\xd8\xff")
    assert (photo.width, photo.height) == WIDE


def test_transparency_is_converted_onto_white() -> None:
    photo = photos.from_bytes("x", encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "WEBP"))
    assert sent(photo).getpixel((4, 4)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    grey = Image.new("I;16", (8, 8), 128 * 256)
    assert sent(photos.from_bytes("x", encoded(grey, "TIFF"))).getpixel((4, 4)) == (128, 128, 128)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("1", 0), ("L", 0), ("P", 0), ("I;16", 40_000), ("RGB", (0, 0, 0)), ("LA", None)],
)
def test_png_of_every_kind_is_decoded_to_rgb(mode: str, transparency: object) -> None:
    extra = {} if transparency is None else {"transparency": transparency}
    photo = photos.from_bytes("x", encoded(Image.new(mode, (8, 8)), "PNG", **extra))
    assert (sent(photo).format, photo.decode().mode) == ("PNG", "RGB")
    assert "transparency" not in photo.decode().info


# What is rejected


def test_floats_for_pixels_are_rejected() -> None:
    with pytest.raises(DataError, match=r"^x\.tif: its pixels have 32 bits; save it with 8"):
        photos.from_bytes("x.tif", encoded(Image.new("F", (8, 8)), "TIFF"))


def test_an_empty_file_is_rejected() -> None:
    with pytest.raises(DataError, match=r"^x\.jpg: is empty"):
        photos.from_bytes("x.jpg", b"")


def test_a_text_is_rejected() -> None:
    with pytest.raises(DataError, match=r"^x\.jpg: cannot be decoded \(not an image"):
        photos.from_bytes("x.jpg", b"GIF? no, just a text with some length to it")


def test_a_truncated_image_is_rejected() -> None:
    with pytest.raises(DataError, match=r"^x\.jpg: cannot be decoded \(.*truncated"):
        photos.from_bytes("x.jpg", golden("picture.jpg")[:-40])


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than the file could ever hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


@pytest.mark.parametrize("side", [6400, 12_000, 60_000])
def test_a_decompression_bomb_is_rejected_by_its_header(side: int) -> None:
    with pytest.raises(DataError, match=rf"^x\.png: .*({side}x{side}|{side * side}) .*pixels"):
        photos.from_bytes("x.png", bomb(side, side))


def test_odd_files_of_the_wild_are_sent_or_rejected_by_name(data: Path) -> None:
    folder = data / "odd_images"
    for name, expected in json.loads((folder / "expected.json").read_text()).items():
        path = str(folder / name)
        if not expected["pil_decodes"]:
            with pytest.raises(DataError, match=f"^{path}: "):
                photos.read(path)
            continue
        photo = photos.read(path)
        size = tuple(expected["size"])
        turned = (expected["orientation"] or 1) > 4
        assert (photo.width, photo.height) == (size[::-1] if turned else size), name
        assert photo.encoded.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n"))
        seen = photo.decode()
        assert (seen.mode, seen.size) == ("RGB", (photo.width, photo.height))


# Which


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/c.jpg", ".hidden.jpg", "notes.txt", "odd[1].jpg"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(golden("picture.jpg"))
    return tmp_path / "album"


def found(album: Path, *arguments: str) -> list[str]:
    names = photos.list_images(str(album / argument) for argument in arguments)
    return [str(Path(name).relative_to(album)) for name in names]


def test_a_folder_stands_for_the_images_directly_in_it(album: Path) -> None:
    assert found(album, "") == ["a.PNG", "b.jpg", "odd[1].jpg"]


def test_a_pattern_stands_for_what_it_matches(album: Path) -> None:
    assert found(album, "**/*.jpg") == ["b.jpg", "deep/c.jpg", "odd[1].jpg"]


def test_a_file_is_taken_whatever_it_is_called(album: Path) -> None:
    assert found(album, "notes.txt", "odd[1].jpg") == ["notes.txt", "odd[1].jpg"]


def test_an_image_named_twice_is_detected_once(album: Path) -> None:
    assert found(album, "b.jpg", "", "*.jpg") == ["b.jpg", "a.PNG", "odd[1].jpg"]


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=f"^{tmp_path}: no image in this folder"):
        photos.list_images([str(tmp_path)])


def test_a_pattern_without_a_match_is_named() -> None:
    with pytest.raises(DataError, match=r"^nowhere/\*\.jpg: no file matches"):
        photos.list_images(["nowhere/*.jpg"])
    with pytest.raises(DataError, match=r"^'': an empty name"):
        photos.list_images([""])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"^nowhere\.jpg: no such file or folder"):
        photos.list_images(["nowhere.jpg"])
