# Published weights are fetched once, into caches that all runs share, on the machine that submits.
for path, section in {path: section for section, path in weights.items()}.items():

    # update() keeps an existing file: if the rule is forced to run, the job only verifies it.
    rule:
        name:
            f"fetch_{section}"
        output:
            update(str(path)),
        log:
            below(files.FETCH_LOG).format(weights=path.name),
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            config=as_read,
            section=section,
        message:
            "weights of the {params.section}"
        shell:
            "cnnpref fetch --config {params.config:q} --section {params.section} > {log:q} 2>&1"
