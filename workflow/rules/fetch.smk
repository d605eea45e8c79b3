# Weights of the zoo are fetched once, into the cache folder that all runs share.
if weights:

    # update() keeps an existing file: if the rule is forced to run, the job only verifies it.
    rule fetch:
        output:
            update(f"{next(iter(weights.values())).parent}/{{weights}}"),
        log:
            below(files.FETCH_LOG),
        wildcard_constraints:
            weights="|".join(map(re.escape, names_of_weights)),
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            name=lambda wildcards: names_of_weights[wildcards.weights],
        message:
            "weights of {params.name}"
        shell:
            "cnnpref fetch {params.name:q} > {log:q} 2>&1"
