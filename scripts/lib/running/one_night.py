"""The run for one night of a campaign, which has that in its environment: see `campaign`."""

from collections.abc import Mapping
from pathlib import Path

from scripts.lib.files.lock import is_held, lock_of

NIGHT = "SPECULOOS_NIGHT"  # variable: the night's folder
LOCK = "campaign"


def own_settings(environ: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that the run for one night has in place of those it was given.

    What is to be delivered again was written down before the first night began.
    """
    folder = environ.get(NIGHT)
    return {"nights": Path(folder).name, "redeliver": False} if folder else {}


def why_not(workdir: Path, environ: Mapping[str, str]) -> str:
    """Return why the run for one night must not begin; nothing if it may.

    A job of the queue may outlive its campaign, or be on a machine for which locks do not count.
    """
    if "SLURM_JOB_ID" in environ and NIGHT in environ:
        path = lock_of(workdir, LOCK).path
        if not is_held(path):
            return (
                f"{path} is not held: the campaign has ended, or locks of this file system do not "
                "count on all machines; then run the campaign without --slurm"
            )
    return ""
