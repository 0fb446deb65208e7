"""Archives (.zip, .tar, .tar.gz) as folders: `mmlu.zip/data/test/*.csv` means files inside, `mmlu.zip` all of them."""

import functools
import tarfile
import zipfile
from pathlib import Path

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def inside(path: Path) -> tuple[Path, str] | None:
    """(archive, what follows in the path) where the path leads into an archive, or is one; else None."""
    for parent in (path, *path.parents):
        if is_archive(parent):
            return parent, path.relative_to(parent).as_posix().removeprefix(".")
    return None


def on_disk(path: Path) -> Path:
    """The file whose bytes these are: the archive of a member, else the path itself."""
    found = inside(path)
    return found[0] if found else path


def members(archive: Path) -> list[str]:
    """Names of the files inside, sorted; what macOS adds to archives is left out.

    OSError where a name is absolute or has `..`: as a path below the archive's it would be a file of this machine.
    """
    found = _open(archive, archive.stat().st_mtime_ns)
    names = (
        found.namelist() if isinstance(found, zipfile.ZipFile) else [m.name for m in found.getmembers() if m.isfile()]
    )
    hidden = lambda name: name.endswith("/") or any(p.startswith(".") or p == "__MACOSX" for p in Path(name).parts)
    if out := [name for name in names if name.startswith("/") or ".." in Path(name).parts]:
        raise OSError(f"{archive.name}: its member {out[0]!r} leads out of the archive; do not trust it")
    return sorted(name for name in names if not hidden(name))


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of one file inside; OSError where it is missing or the archive is damaged."""
    try:
        found = _open(archive, archive.stat().st_mtime_ns)
        return found.read(name) if isinstance(found, zipfile.ZipFile) else found.extractfile(name).read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise OSError(f"{archive.name}: {error}") from error


@functools.lru_cache(maxsize=2)  # members are asked for one by one; a tar file is searched from its start when opened
def _open(archive: Path, _changed: int) -> zipfile.ZipFile | tarfile.TarFile:
    try:
        return zipfile.ZipFile(archive) if archive.name.lower().endswith(".zip") else tarfile.open(archive)
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise OSError(f"{archive.name}: no readable archive ({error})") from error
