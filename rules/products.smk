"""cube, frames: raw pixels and finished headers become products.

Needs   {night}/frames.csv, {night}/raw/, {night}/headered/
Leaves  {night}/cubes/SPECU{n}.{start}_{sequence}.fits, or {night}/frames/{sequence}/, until archived
"""


rule cube:
    """Stack the frames of a sequence into a cube."""
    input:
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        headered="{night}/headered",
    output:
        cube=temp("{night}/cubes/SPECU{n}.{start}_{sequence}.fits"),
    log:
        "{night}/logs/cube/SPECU{n}.{start}_{sequence}.log",
    conda:
        "../envs/cube.yaml"
    script:
        "../scripts/cube.py"


rule frames:
    """Write the frames of a sequence, each with its finished header."""
    input:
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        headered="{night}/headered",
    output:
        folder=temp(directory("{night}/frames/{sequence}")),
    log:
        "{night}/logs/frames/{sequence}.log",
    conda:
        "../envs/frames.yaml"
    threads: 2
    script:
        "../scripts/frames.py"
