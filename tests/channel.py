"""A channel of conda packages in a folder, made from what pip has installed for the tests.

Its packages hold links to the installed files, because packing and unpacking numpy takes 8 s; its
Python is a virtual environment of the Python that runs the tests. So it shows how environments are
read, solved, installed, activated and used, and nothing of the packages of conda-forge.
"""

import asyncio
import importlib.metadata
import io
import json
import platform
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rattler.index import index_fs

SITE = "lib/python3.11/site-packages"
# Packages that a channel makes of pip's: by their names in environments, those of their links.
LINKED = {
    "astropy-iers-data": ("astropy_iers_data",),
    "numpy": ("numpy", "numpy.libs"),
    "paramiko": ("paramiko",),
    "pyerfa": ("erfa",),
    "pyyaml": ("yaml", "_yaml"),
    "smbprotocol": ("smbprotocol", "smbclient"),
}
# Writes down, when Python ends, its folder and the files of its modules.
CUSTOMIZE = """import atexit, os, sys
def write():
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    with open(os.environ["MODULES_FILE"], "a") as stream:
        stream.writelines(f"{sys.prefix}\\t{file}\\n" for file in files if file)
atexit.register(write)
"""


def make_channel(folder: Path) -> str:
    """Write a channel of Python and some packages in their installed versions; return its URL."""
    home, version = Path(sys._base_executable).parent, platform.python_version()
    python = {
        "bin/python3.11": Path(sys._base_executable),
        "bin/python": Path("python3.11"),
        "pyvenv.cfg": f"home = {home}\ninclude-system-site-packages = false\n",
        f"{SITE}/sitecustomize.py": CUSTOMIZE,
    }
    write_package(folder, "python", version, python)
    for name, links in LINKED.items():
        installed = importlib.metadata.distribution(name)
        files = {f"{SITE}/{link}": Path(str(installed.locate_file(link))) for link in links}
        write_package(folder, name, installed.version, files, ("python",))
    # In a thread of its own: the driver of the browser may have left a loop in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, index_fs(folder, write_zst=False, write_shards=False)).result()
    return folder.as_uri()


def write_package(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, str | Path],
    depends: tuple[str, ...] = (),
) -> None:
    """Write a conda package; a path among ``files`` becomes a link to it, a text a file."""
    # https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
    about = {"name": name, "version": version, "build": "0", "build_number": 0}
    about |= {"subdir": "linux-64", "depends": depends, "timestamp": 1}
    paths = [
        {"_path": path, "path_type": "softlink" if isinstance(content, Path) else "hardlink"}
        for path, content in files.items()
    ]
    info = {
        "info/index.json": json.dumps(about),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "info/files": "".join(f"{path}\n" for path in files),
    }
    target = folder / "linux-64" / f"{name}-{version}-0.tar.bz2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:bz2") as archive:
        for path, content in {**info, **files}.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(member)
            else:
                member.size = len(content.encode())
                archive.addfile(member, io.BytesIO(content.encode()))
