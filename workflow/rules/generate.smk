# Unit files: one job for each batch of units, or for each unit.

if settings["batch"] == 1:
    by_folder = {series.folder.name: series for series in plan.series}
    alone = {name: Batch(series, series.units[:1]) for name, series in by_folder.items()}
    memory = {name: memory_mb(plan, unit) for name, unit in alone.items()}
    runtime = {name: runtime_minutes(plan, unit) for name, unit in alone.items()}
    names = {
        name: {"layer": series.layer, "method": series.name} for name, series in by_folder.items()
    }

    rule generate:
        input:
            ancient(lambda wildcards: needed_for(by_folder[folder_of(wildcards)])),
        output:
            below(files.UNIT.path),
        log:
            below(files.GENERATE.log),
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: memory[folder_of(wildcards)] * 2 ** (attempt - 1),
            runtime=lambda wildcards, attempt: runtime[folder_of(wildcards)] * 2 ** (attempt - 1),
        params:
            config=as_read,
            series=lambda wildcards: names[folder_of(wildcards)],
        message:
            "{params.series[method]} on {params.series[layer]}: unit {wildcards.unit}"
        shell:
            "cnnpref generate --config {params.config:q} --layer {params.series[layer]:q}"
            " --method {params.series[method]} --units {wildcards.unit}"
            " --threads {threads} > {log:q} 2>&1"

else:
    # update() keeps existing unit files: the job makes only the missing ones.
    for batch in batches(plan):

        rule:
            name:
                f"generate_{batch.identifier}"
            input:
                ancient(lambda wildcards, series=batch.series: needed_for(series)),
            output:
                [update(str(path)) for path in batch.paths()],
            log:
                below(files.GENERATE.log).format(**batch.fields),
            conda:
                "../../environment.yml"
            threads: 1
            resources:
                mem_mb=lambda wildcards, attempt, mb=memory_mb(plan, batch): mb * 2 ** (attempt - 1),
                runtime=lambda wildcards, attempt, minutes=runtime_minutes(plan, batch): (
                    minutes * 2 ** (attempt - 1)
                ),
                attempt=lambda wildcards, attempt: attempt,
            params:
                config=as_read,
                layer=lambda wildcards, layer=batch.series.layer: layer,
                method=batch.series.name,
                units=batch.ranges,
            message:
                "{params.method} on {params.layer}: units {params.units}"
            shell:
                "cnnpref generate --config {params.config:q} --layer {params.layer:q}"
                " --method {params.method} --units {params.units}"
                " --threads {threads} --attempt {resources.attempt} > {log:q} 2>&1"
