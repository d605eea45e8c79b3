# Scores of the pictures of each layer, then one table of all layers.

part_of_scores = below(files.SCORES_PART.path).replace("{scoring}", plan.scoring.key[:8])


rule scores:
    input:
        lambda wildcards: paths(files.SCORE.reads, unescape(wildcards.layer)),
        ancient(lambda wildcards: weights_for_scores()),
    output:
        table=below(files.SCORES.path),
        alike=below(files.ALIKE.path),
        # What a job that was killed had computed; update() needs a file system that all share.
        part=update(part_of_scores) if settings["batch"] != 1 else part_of_scores,
    log:
        below(files.SCORE.log),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: score_memory_mb(plan) * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: (
            score_minutes(plan, unescape(wildcards.layer)) * 2 ** (attempt - 1)
        ),
    params:
        config=as_read,
        layer=lambda wildcards: unescape(wildcards.layer),
    message:
        "scores of {params.layer}"
    shell:
        "cnnpref scores --config {params.config:q} --layer {params.layer:q}"
        " --threads {threads} > {log:q} 2>&1"


rule join_scores:
    input:
        lambda wildcards: paths(files.JOIN_SCORES.reads),
    output:
        below(files.ALL_SCORES.path),
    log:
        below(files.JOIN_SCORES.log),
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=as_read,
    message:
        "scores of all layers"
    shell:
        "cnnpref join-scores --config {params.config:q} > {log:q} 2>&1"
