"""Sizes in bytes: MB as disks and networks count, MiB as memory and request limits do."""

MB, MIB = 1_000_000, 2**20


def megabytes(size: int) -> str:
    return f"{size / MB:.1f} MB" if size < 100 * MB else f"{size // MB} MB"
