"""header: the finished ESO headers of a night, apart from their pixels.

Needs   {night}/frames.csv, {night}/raw/, {night}/solved/ if frames are to be solved
Leaves  {night}/headers/S/, C/    of science frames and of calibrations:
            {sequence}.fits       header-only HDUs; for cubes also their METADATA
            held_back.csv         frames held back: unsolved, or refused by the gate
"""


rule header:
    """Finish the ESO headers of a night: identity, times, world coordinates, order."""
    input:
        **TABLES,
        checks=CHECKS,
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        corrections=night_corrections,
        solved=solved_tables,
    output:
        headers=directory("{night}/headers/{group}"),
    log:
        "{night}/logs/header/{group}.log",
    conda:
        "../envs/header.yaml"
    threads: 2
    resources:
        mem_mb=memory(600, 0.1),
        runtime=minutes(0.01),
    params:
        headings=headings,
        programme=programme,
        named=named,
        snapshot=snapshot,
    script:
        "../scripts/header.py"
