"""Delivery: a whole file under its final name in the archive directory, or nothing.

ESO's poller takes what bears a product's name, so a product gets its name in one step: by a hard
link where both folders share a file system, otherwise from a hidden temporary file. A link never
overwrites.
"""

import errno
import hashlib
import os
from pathlib import Path

from scripts.lib.files.durable import part_name, remove_parts, sync_folder
from scripts.lib.fits.cards import Header, HeaderError, keyword_of, read_header

CHUNK = 1 << 22
# What differs between two writings of the same product.
OF_THE_WRITING = ("DATE", "CHECKSUM")


class NameTaken(RuntimeError):
    """The archive directory holds another file under the product's name."""


class DamagedCopy(RuntimeError):
    """The copy in the archive directory is not the product."""


def deliver(product: Path, archive: Path) -> bool:
    """Put a product into the archive directory; return False if it lay there already.

    Raises
    ------
    NameTaken
        If another file bears its name.
    DamagedCopy
        If it did not arrive whole.
    """
    target = archive / product.name
    new = not target.exists()
    try:
        os.link(product, target)
    except FileExistsError:
        check_same(product, target)
        # A job that was killed as soon as its copy had its name left the hidden one behind.
        remove_parts(archive, f"{target.name}.*")
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        copy_across(product, target)
    sync_folder(archive)
    return new


def copy_across(product: Path, target: Path) -> None:
    """Copy a product to another file system: hidden until it is whole, verified and on disk."""
    remove_parts(target.parent, f"{target.name}.*")
    part = part_name(target)
    try:
        digest = hashlib.sha256()
        with open(product, "rb") as stream, open(part, "wb") as copy:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        with open(part, "rb") as copy:
            if hashlib.file_digest(copy, "sha256").digest() != digest.digest():
                raise DamagedCopy(f"{target} did not arrive whole: run again")
        name_once(part, target, product)
    finally:
        part.unlink(missing_ok=True)


def name_once(part: Path, target: Path, product: Path) -> None:
    """Give a finished file its name without ever overwriting another."""
    try:
        os.link(part, target)
    except FileExistsError:
        check_same(product, target)
    except OSError:  # a file system without hard links, a network share say
        if target.exists():
            check_same(product, target)
        else:
            os.rename(part, target)


def check_same(product: Path, target: Path) -> None:
    """Raise `NameTaken` unless two files are the same product, but for when they were written."""
    if os.path.samefile(product, target):
        return
    if product.stat().st_size != target.stat().st_size or not _same_content(product, target):
        raise NameTaken(
            f"{target} is another file than {product}: nothing was overwritten. "
            "Find out which is right and remove the other"
        )


def _same_content(product: Path, target: Path) -> bool:
    """Tell whether two files of one size differ in nothing but what is of the writing."""
    with open(product, "rb") as one, open(target, "rb") as other:
        try:
            if _lasting(read_header(one)) != _lasting(read_header(other)):
                return False
        except HeaderError:
            return False
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True


def _lasting(header: Header) -> list[bytes]:
    return [image for image in header.images if keyword_of(image) not in OF_THE_WRITING]
