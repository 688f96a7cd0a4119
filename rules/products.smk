"""cube, frames: raw pixels and finished headers become products.

Needs   {night}/frames.csv, {night}/raw/, {night}/headers/
Leaves  {night}/cubes/{instrument}.{start}_{sequence}.fits, or {night}/frames/{sequence}/, until archived
"""


rule cube:
    """Stack the frames of a sequence into a cube."""
    input:
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        headers=headers,
    output:
        cube=temp("{night}/cubes/{instrument}.{start}_{sequence}.fits"),
    log:
        "{night}/logs/cube/{instrument}.{start}_{sequence}.log",
    conda:
        "../envs/cube.yaml"
    resources:
        mem_mb=memory(600, 0.02),
        runtime=minutes(0.02),
    params:
        snapshot=snapshot,
    script:
        "../scripts/cube.py"


rule frames:
    """Write the frames of a sequence, each with its finished header."""
    input:
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        headers=headers,
    output:
        folder=temp(directory("{night}/frames/{sequence}")),
    log:
        "{night}/logs/frames/{sequence}.log",
    conda:
        "../envs/frames.yaml"
    threads: 2
    resources:
        mem_mb=memory(600, 0.02),
        runtime=minutes(0.02),
    params:
        snapshot=snapshot,
    script:
        "../scripts/frames.py"
