# What reference images do to units: one job for each shard of the images, then one for all layers.

if plan.references:
    shards = {shard.name: shard for shard in plan.references.shards}

    rule reference_images:
        output:
            [str(path) for path in plan.paths(files.LIST_IMAGES.makes)],
        log:
            below(files.LIST_IMAGES.log),
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            config=as_read,
        message:
            "list of reference images"
        shell:
            "cnnpref reference-images --config {params.config:q} > {log:q} 2>&1"

    rule nature:
        input:
            lambda wildcards: paths(files.MEASURE_NATURE.reads),
            ancient(lambda wildcards: weights_for(plan.series[0])),
        output:
            below(files.NATURE.path),
        log:
            below(files.MEASURE_NATURE.log),
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            config=as_read,
        message:
            "colours and spectra of the reference images"
        shell:
            "cnnpref nature --config {params.config:q} > {log:q} 2>&1"

    rule references:
        input:
            ancient(lambda wildcards: weights_for(plan.series[0])),
        output:
            below(files.SHARD.path),
        log:
            below(files.TALLY.log),
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: reference_memory_mb(plan) * 2 ** (attempt - 1),
            runtime=lambda wildcards, attempt: reference_minutes(plan) * 2 ** (attempt - 1),
        params:
            config=as_read,
            number=lambda wildcards: shards[wildcards.shard].number,
        message:
            "reference images, shard {params.number}"
        shell:
            "cnnpref references --config {params.config:q} --shard {params.number}"
            " --threads {threads} > {log:q} 2>&1"

    rule merge_references:
        input:
            lambda wildcards: paths(files.MERGE.reads),
            ancient(lambda wildcards: weights_for(plan.series[0])),
        output:
            [str(path) for path in plan.paths(files.MERGE.makes)],
        log:
            below(files.MERGE.log),
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            config=as_read,
        message:
            "reference images of all layers"
        shell:
            "cnnpref merge-references --config {params.config:q} > {log:q} 2>&1"
