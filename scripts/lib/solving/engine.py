"""The astrometry.net engine as a blind fallback: any rotation, wrong scale, large pointing errors.

Lang et al. (2010), AJ 139, 1782. It needs the optional package ``astrometry`` (GPL) and index
files. Its own WCS is rough, so it only becomes a prior: the match that counts is our own.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.files.errors import Damaged, JobFailed
from scripts.lib.solving.detection import Centroids
from scripts.lib.solving.fitting import FREE
from scripts.lib.solving.index_files import check_quads, open_index
from scripts.lib.solving.priors import Orientation, Prior, middle
from scripts.lib.solving.tangent import TangentWCS, moved_to
from scripts.lib.solving.unreadable import failing_job

MOST_STARS = 60  # more junk than this costs seconds
SCALE = 0.1  # relative
LOG_ODDS = 14.0  # natural logarithm, at which the engine stops


class Engine:
    """The astrometry.net engine on a folder of index files.

    ``radius`` around the pointing is searched, degrees.
    Raises `JobFailed` if the package is missing, or an index file is missing or damaged.
    """

    def __init__(self, folder: Path, radius: float = 0.3):
        try:
            import astrometry
        except ImportError as error:
            raise JobFailed(
                "index is set, but the package astrometry is missing: pip install astrometry"
            ) from error
        self.folder, self.radius = folder, radius
        self._package = astrometry
        with failing_job("index", folder):
            self._files = open_index(folder)
            check_quads(self._files)
            self._solver = self._loaded([file.path for file in self._files])

    def _loaded(self, paths: list[Path]) -> Any:
        """Return the package's solver; raise `Damaged` with the file that it cannot load."""
        try:
            return self._package.Solver(paths)
        except Exception as error:
            if len(paths) == 1:
                raise Damaged(f"{paths[0].name}: the engine cannot load it") from error
            for path in paths:
                self._loaded([path])
            raise

    def prior(
        self, stars: Centroids, ra: float, dec: float, mount: Orientation, shape: tuple[int, int]
    ) -> Prior | None:
        """Return where the engine has a frame, or None if it finds no match.

        The stars are those found, brightest first. Raises `JobFailed` if an index file has changed
        since it was opened.
        """
        with failing_job("index", self.folder):
            for file in self._files:
                file.check_unchanged()
        package = self._package
        solution = self._solver.solve(
            stars=stars.xy[:MOST_STARS].tolist(),
            size_hint=package.SizeHint(mount.scale * (1 - SCALE), mount.scale * (1 + SCALE)),
            position_hint=package.PositionHint(ra % 360, dec, self.radius),
            solution_parameters=package.SolutionParameters(
                sip_order=0,
                tune_up_logodds_threshold=None,
                output_logodds_threshold=LOG_ODDS,
                logodds_callback=lambda _: package.Action.STOP,
            ),
        )
        if not solution.has_match():
            return None
        value = {key: found for key, (found, _) in solution.best_match().wcs_fields.items()}
        cd = 3600 * np.array([[value[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)], float)
        wcs = TangentWCS(value["CRVAL1"], value["CRVAL2"], value["CRPIX1"], value["CRPIX2"], cd)
        centred = moved_to(wcs, *middle(shape))
        return Prior("engine", centred, 30.0, math.radians(0.5), 0.01, FREE)
