"""Downloads the Oxford-IIIT Pet data set: 7,390 photos with boxes and breeds.

Two archives (811 MB) are downloaded next to the target folder, checked and
unpacked. If it is interrupted, the same command continues. --from takes them
from another address (of a folder with images.tar.gz and annotations.tar.gz, or
of one archive with images/ and annotations/), or from this machine: a folder
with the two archives or already unpacked, or one archive.

The photos are under CC BY-SA 4.0 (Parkhi, Vedaldi, Zisserman, Jawahar: Cats and
Dogs, 2012).

examples:
  petbox fetch
  petbox fetch --from ~/Downloads
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox import outputs
from petbox.cli import program
from petbox.cli.progress import progress
from petbox.data.fetch import archives
from petbox.data.fetch.checksum import Fingerprint, difference
from petbox.data.fetch.download import RetryPolicy, fetch, is_url
from petbox.errors import DataError

# This address is stable and redirects to the files, whose hashes have not changed since 2012.
ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
ANNOTATIONS = "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91"
IMAGES = "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d"
SIZES = {ANNOTATIONS: 19_173_078, IMAGES: 791_918_971}


@dataclass(frozen=True)
class Options:
    out: Annotated[Path, "folder to make; one that is there already is left alone"] = Path(
        "data/pets"
    )
    from_: Annotated[str, "address, folder or archive to take it from", "PLACE"] = ADDRESS
    images_sha256: Annotated[
        str, "what images.tar.gz must be; 'any' for a mirror with other bytes", "HEX"
    ] = IMAGES
    annotations_sha256: Annotated[str, "the same for annotations.tar.gz", "HEX"] = ANNOTATIONS
    timeout: Annotated[float, "seconds without a byte before a connection is dropped", "S"] = 30.0


def main(options: Options) -> None:
    if options.timeout <= 0:
        raise DataError("--timeout must be above 0")
    expected = _expected(options)
    downloads = options.out.with_name(f"{options.out.name}.download")
    if options.out.exists():
        _check_layout(options.out, f"{options.out}: exists, but")
        program.say(f"{options.out}: exists already; remove it to download it again")
        outputs.remove(downloads)  # left by a run that was killed before this step
    elif is_url(options.from_):
        busy = DataError(
            f"{downloads}: another process is fetching into it; wait for it or stop it"
        )
        with outputs.locked(downloads, busy):
            parts = _downloaded(options.from_, downloads, expected, RetryPolicy(options.timeout))
            _make(options.out, parts)
            outputs.remove(downloads)
    else:
        _make(options.out, _local(Path(options.from_).expanduser(), expected))
    print(options.out)


def _expected(options: Options) -> dict[str, Fingerprint]:
    """Each archive's checksum; the small archive first, so that a wrong address shows sooner."""
    stated = {"annotations": options.annotations_sha256, "images": options.images_sha256}
    return {
        name: Fingerprint(
            sha256.lower(),
            SIZES.get(sha256.lower()),
            f"get it from another place with --from, or trust it with --{name}-sha256",
        )
        for name, sha256 in stated.items()
    }


# Archives and folders


def _downloaded(
    url: str, folder: Path, expected: dict[str, Fingerprint], policy: RetryPolicy
) -> list[Path]:
    """The archives at `url`, whole and checked, in `folder`."""
    name = url.partition("?")[0].rpartition("/")[2]
    if name.endswith(archives.ENDINGS):
        sources = {folder / name: (url, Fingerprint())}
    else:
        sources = {
            folder / f"{name}.tar.gz": (f"{url.rstrip('/')}/{name}.tar.gz", fingerprint)
            for name, fingerprint in expected.items()
        }
    for archive, (address, fingerprint) in sources.items():
        if archive.exists() and difference(archive, fingerprint):
            archive.unlink()  # from an earlier run with another checksum
        if not archive.exists():
            fetch(address, archive, fingerprint, policy)
    return list(sources)


def _local(source: Path, expected: dict[str, Fingerprint]) -> list[Path]:
    """The archive at `source`, or what the folder there holds: archives, or folders."""
    if source.is_file():
        return [source]
    parts = []
    for name, fingerprint in expected.items():
        archive, unpacked = source / f"{name}.tar.gz", source / name
        if archive.is_file():
            if trouble := difference(archive, fingerprint):
                raise DataError(
                    f"{archive}: is not the published one: {trouble}; {fingerprint.otherwise}"
                )
            parts.append(archive)
        elif unpacked.is_dir():
            parts.append(unpacked)
        else:
            trouble = f"has neither {archive.name} nor {name}/" if source.is_dir() else "not there"
            raise DataError(f"{source}: {trouble}; give --from a folder that holds the data set")
    return parts


# Unpacking


def _make(out: Path, parts: list[Path]) -> None:
    with outputs.product(out) as folder:
        for part in parts:
            if part.is_dir():
                _copy(part, folder / part.name)
            else:
                archives.unpack(part, folder)
        _strip_top_folder(folder)
        _check_layout(folder, " and ".join(map(str, parts)) + ":")
        photos = len(list((folder / "images").glob("*.jpg")))
    program.say(f"{out}: {photos} photos")


def _copy(source: Path, target: Path) -> None:
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    with progress(f"copy {source}", len(files)) as advance:
        for file in files:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            advance(1, "files")


def _strip_top_folder(folder: Path) -> None:
    """Removes a single folder around the content, as archives often have."""
    around = [path for path in folder.iterdir() if path.is_dir()]
    if len(around) == 1 and (around[0] / "images").is_dir():
        for path in sorted(around[0].iterdir()):
            path.rename(folder / path.name)
        around[0].rmdir()


def _check_layout(folder: Path, source: str) -> None:
    """Checks enough of the layout to detect another data set, or half of this one."""
    for expected in ("images", "annotations/list.txt"):
        if not (folder / expected).exists():
            raise DataError(
                f"{source} {expected} is missing; expected images/ and annotations/ as "
                "Oxford-IIIT Pet has them"
            )
