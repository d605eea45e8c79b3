# Unit files: one job for each batch of units, or for each unit.

if settings["batch"] == 1:
    by_folder = {series.folder.name: series for series in plan.series}

    rule generate:
        input:
            ancient(lambda wildcards: weights_for(by_folder[f"{wildcards.method}-{wildcards.key}"])),
        output:
            f"{plan.folder}/units/{{layer}}/{{method}}-{{key}}/{{unit}}.h5",
        log:
            f"{plan.folder}/logs/generate/{{layer}}/{{method}}-{{key}}/{{unit}}.log",
        conda:
            "../../environment.yml"
        threads: 1
        params:
            config=CONFIG,
            layer=lambda wildcards: unescape(wildcards.layer),
            method=lambda wildcards: by_folder[f"{wildcards.method}-{wildcards.key}"].name,
        message:
            "{params.method} on {params.layer}: unit {wildcards.unit}"
        shell:
            "cnnpref generate --config {params.config:q} --layer {params.layer:q}"
            " --method {params.method} --units {wildcards.unit}"
            " --threads {threads} > {log:q} 2>&1"

else:
    # update() leaves the unit files that are there: the job makes the missing ones only.
    for batch in plan.batches():

        rule:
            name:
                f"generate_{batch.identifier}"
            input:
                ancient(weights_for(batch.series)),
            output:
                [update(str(path)) for path in batch.paths()],
            log:
                f"{plan.folder}/logs/generate/{batch.label}.log",
            conda:
                "../../environment.yml"
            threads: 1
            params:
                config=CONFIG,
                layer=batch.series.layer,
                method=batch.series.name,
                units=batch.ranges,
            message:
                "{params.method} on {params.layer}: units {params.units}"
            shell:
                "cnnpref generate --config {params.config:q} --layer {params.layer:q}"
                " --method {params.method} --units {params.units}"
                " --threads {threads} > {log:q} 2>&1"
