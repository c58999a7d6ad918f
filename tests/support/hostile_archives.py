"""Archives that lead out of their folder, or make what an archive should not."""

from __future__ import annotations

import io
import tarfile


def hostile(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)
    return file.getvalue()
