"""Publish products: each gets its name in the archive directory whole, and once.

ESO's poller may take a file with a product's name at any time. So a product is first written under
a hidden name (`stage`), the intent is recorded in the ledger, the file is renamed (`publish`), and
that is recorded too. After a crash the hidden file decides: if it exists, the product is not
published; if it is gone, it is, even if ESO has collected it.
"""

import ctypes
import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from scripts.lib.files.durable import HOST, WRITER, is_left, sync, writer
from scripts.lib.files.errors import Damaged, JobFailed
from scripts.lib.files.log import logger
from scripts.lib.fits.cards import HeaderError, Value
from scripts.lib.fits.hdu import read_header, read_primary_header
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Intent, Product

CHUNK = 1 << 22
# What differs between two writings of the same product.
OF_THE_WRITING: dict[str, Value] = {"DATE": None, "CHECKSUM": None}
# What the kernel or a file system says that knows no rename without replacing.
UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
AT_FDCWD, NOREPLACE = -100, 1  # of fcntl.h and of renameat2(2)
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class NameTaken(JobFailed):
    """The archive directory holds another file under the product's name."""


def stage(product: Path, archive: Path, mode: int, ledger: Ledger) -> str:
    """Put a product into the archive directory under a hidden name, and return that.

    It is a hard link where both folders share a file system, otherwise a copy. The name is on the
    disk once `sync` was called for the archive directory. The ledger's identity and the
    process are in it: another telescope, or a trial, may use the same directory. ESO's collector
    must be able to read it, by its ``mode``. Raises `Damaged` if a copy is not what was copied.
    """
    remove_hidden(ledger, archive, product.name)
    hidden = f".{product.name}.{ledger.identity}-{writer()}.part"
    try:
        os.link(product, archive / hidden)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        copy_across(product, archive / hidden)
    os.chmod(archive / hidden, mode)
    return hidden


def remove_hidden(ledger: Ledger, archive: Path, product: str = "*") -> None:
    """Remove hidden files that jobs left which were killed before they recorded the intent."""
    left = [
        path
        for path in archive.glob(f".{product}.{ledger.identity}-*.part")
        if not is_at_work(path)
    ]
    # Only now: the intents of processes that have ended do not become more.
    intended = ledger.hidden()
    for path in left:
        if path.name not in intended:
            path.unlink(missing_ok=True)


def is_at_work(hidden: Path) -> bool:
    """Return whether a hidden file may be of another job that delivers.

    One that has ended, though nobody has asked for its status yet, has no command line.
    """
    match = WRITER.search(hidden.name)
    if not match:
        return False
    if (match[2] or HOST) != HOST:
        return not is_left(hidden)
    if match[1] == str(os.getpid()):
        return False
    try:
        command = Path("/proc", match[1], "cmdline").read_bytes()
    except OSError:
        return False
    return any(script in command for script in (b"archive.py", b"batch.py"))


def copy_across(product: Path, hidden: Path) -> None:
    """Copy a product to another file system; it is whole, verified and on disk then."""
    try:
        digest = hashlib.sha256()
        with open(product, "rb") as stream, open(hidden, "wb") as copy:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        with open(hidden, "rb") as copy:
            if hashlib.file_digest(copy, "sha256").digest() != digest.digest():
                raise Damaged(f"{product.name} did not arrive whole in {hidden.parent}")
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def publish(archive: Path, intent: Intent, earlier: Product | None) -> Product:
    """Give a staged product its name, if that was not done before; return what is published.

    A file that is the same but for when it was written stays: ESO may be collecting it. That of an
    ``earlier`` delivery under this name is replaced. Raises `NameTaken` for any other file.
    """
    hidden, target = archive / intent.hidden, archive / intent.product.name
    while True:
        try:
            rename_without_replacing(hidden, target)
            return intent.product
        except FileNotFoundError:
            logger.info("%s: had been delivered", intent.product.name)
            return intent.product
        except FileExistsError:
            pass
        try:
            if is_same(hidden, target):
                checksum = read_primary_header(target).value("CHECKSUM")
                hidden.unlink(missing_ok=True)
                return replace(intent.product, checksum=str(checksum))
            if earlier and is_file_of(target, earlier):
                os.replace(hidden, target)
                return intent.product
            raise NameTaken(
                f"{target} is another file than the product of this name: nothing was "
                "overwritten. Find out which is right and remove the other"
            )
        except FileNotFoundError:
            if os.path.islink(target):
                raise NameTaken(f"{target} is a link that leads nowhere: remove it") from None
            # What was there has just been collected.


def rename_without_replacing(source: Path, target: Path) -> None:
    """Rename a file in one step; raise FileExistsError if the new name is taken.

    Where the file system has no such step, it looks first. The run's lock keeps others away.
    """
    if _renameat2 is not None:
        if _renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in UNKNOWN:
            raise OSError(number, os.strerror(number), str(source), None, str(target))
    os.lstat(source)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def publish_intents(ledger: Ledger, archive: Path, intents: Iterable[Intent]) -> dict[str, str]:
    """Publish staged products and book them; return by name why some could not be.

    Where another file has the name the intent is withdrawn, and the product made again by the next
    run. After any other error it stays: the next run looks again.
    """
    done, taken, failed = [], [], {}
    for intent in intents:
        try:
            product = publish(archive, intent, ledger.product(intent.product.name))
            done.append(replace(intent, product=product))
            logger.info("%s: delivered", product.name)
        except NameTaken as error:
            taken.append(intent)
            failed[intent.product.name] = str(error)
        except OSError as error:
            failed[intent.product.name] = f"{archive}: {error.strerror}"
    if done:
        sync(archive)
        ledger.book(done)
    if taken:
        ledger.withdraw(taken)
    for intent in taken:
        (archive / intent.hidden).unlink(missing_ok=True)
    return failed


def take_back(ledger: Ledger, archive: Path, product: Product) -> None:
    """Remove a product that another one replaces, if ESO has not collected it yet."""
    target = archive / product.name
    if is_file_of(target, product):
        logger.warning("%s: taken back, not collected yet and made again otherwise", product.name)
        target.unlink(missing_ok=True)
        sync(archive)
        ledger.forget(product)


def is_file_of(path: Path, product: Product) -> bool:
    """Return whether a file is one of ours: it has the pixels that were delivered in a product."""
    try:
        if path.stat().st_size != product.bytes:
            return False
        return read_primary_header(path).value("DATASUM") == str(product.datasum)
    except (OSError, HeaderError):
        return False


def is_same(product: Path, target: Path) -> bool:
    """Return whether two files are the same product, but for when they were written."""
    if product.stat().st_size != target.stat().st_size:
        return False
    with open(product, "rb") as one, open(target, "rb") as other:
        try:
            headers = [read_header(file).replaced(OF_THE_WRITING) for file in (one, other)]
            if headers[0].images != headers[1].images:
                return False
        except HeaderError:
            return False
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True
