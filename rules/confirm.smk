"""confirm: whether ESO's archive shows what was delivered; off unless `confirm` is set.

Needs   {night}/archived/, ESO's TAP service
Leaves  {night}/confirmed.csv    a row for each product: confirmed, waiting, missing, different
"""


# Receipts are no input: what has one must not be in the graph, or it could be delivered again.
rule confirm:
    """Ask ESO's archive, some hours after delivery, which products of a night it shows."""
    input:
        telescopes=TABLES["telescopes"],
        kinds=TABLES["kinds"],
    output:
        table=reported(update("{night}/confirmed.csv"), "confirmed"),
    log:
        "{night}/logs/confirm.log",
    priority: -1
    localrule: True
    conda:
        "../envs/confirm.yaml"
    # It waits for somebody else: no core is kept from deliveries, which also go first.
    threads: 0
    resources:
        eso=1,
    params:
        run=THIS_RUN,
    script:
        "../scripts/confirm.py"
