# From unit files to what one looks at: layer files, contact sheets, the gallery.


rule collect:
    input:
        lambda wildcards: unit_files(unescape(wildcards.layer)),
    output:
        f"{plan.folder}/layers/{{layer}}.h5",
    log:
        f"{plan.folder}/logs/collect/{{layer}}.log",
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=CONFIG,
        layer=lambda wildcards: unescape(wildcards.layer),
    message:
        "layer file of {params.layer}"
    shell:
        "cnnpref collect --config {params.config:q} --layer {params.layer:q} > {log:q} 2>&1"


rule sheets:
    input:
        f"{plan.folder}/layers/{{layer}}.h5",
    output:
        report(
            f"{plan.folder}/sheets/{{layer}}.png",
            caption="../report/layer_sheet.rst",
            category="Contact sheets",
            labels=labels_of("all, side by side"),
        ),
        [
            report(
                f"{plan.folder}/sheets/{{layer}}/{method}.png",
                caption="../report/method_sheet.rst",
                category="Contact sheets",
                labels=labels_of(method),
            )
            for method in plan.names
        ],
    log:
        f"{plan.folder}/logs/sheets/{{layer}}.log",
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=CONFIG,
        layer=lambda wildcards: unescape(wildcards.layer),
    message:
        "contact sheets of {params.layer}"
    shell:
        "cnnpref sheet --config {params.config:q} --layer {params.layer:q} > {log:q} 2>&1"


rule gallery:
    input:
        [str(plan.layer_file(layer)) for layer in plan.layers],
        [str(plan.sheet(layer)) for layer in plan.layers],
        [str(plan.sheet(series.layer, series.name)) for series in plan.series],
    output:
        str(plan.index),
        [str(plan.page(layer)) for layer in plan.layers],
    log:
        f"{plan.folder}/logs/gallery.log",
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=CONFIG,
    message:
        f"gallery {plan.index}"
    shell:
        "cnnpref gallery --config {params.config:q} > {log:q} 2>&1"
