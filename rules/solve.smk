"""solve: world coordinates of each science frame.

Needs   {night}/frames.csv, {night}/raw/, a star catalogue
Leaves  {night}/solved/{sequence}.fits    a row for each frame: its WCS, how good it is, or why none
"""


rule solve:
    """Find the true WCS of every frame of a science sequence, whatever its header says."""
    input:
        **TABLES,
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        corrections=night_corrections,
    output:
        solved="{night}/solved/{sequence}.fits",
    log:
        "{night}/logs/solve/{sequence}.log",
    conda:
        "../envs/solve.yaml"
    threads: 2
    resources:
        mem_mb=memory(1500, 0.05),
        runtime=minutes(0.1),
    params:
        programme=programme,
        named=named,
        camera=camera,
        snapshot=snapshot,
        solving=SOLVING,
    script:
        "../scripts/solve.py"
