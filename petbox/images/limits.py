"""How many pixels an image may have, for clients, exported models and LiteRT alike."""

MOST_PIXELS = 40_000_000
MOST_PICTURES = 64  # of a request
LONGEST_SIDE = 65_500  # of a JPEG: libjpeg's limit
TOO_LONG = f"is wider or higher than {LONGEST_SIDE} pixels, too large for a JPEG"
HALVED = 2  # the width and height that a larger JPEG is decoded with


def most_of_jpeg(most_pixels: int) -> int:
    """Of a baseline JPEG, which decoders can halve on the way: 64 megapixels where others have 40.

    Any other JPEG is complete in memory before it is halved.
    """
    return most_pixels * 8 // 5
