# The files made of unit files: layer files, contact sheets, pages, the gallery.


rule collect:
    input:
        lambda wildcards: paths(files.COLLECT.reads, unescape(wildcards.layer)),
        lambda wildcards: plan.label_files(unescape(wildcards.layer)),
    output:
        below(files.LAYER.path),
    log:
        below(files.COLLECT.log),
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=as_read,
        layer=lambda wildcards: unescape(wildcards.layer),
    message:
        "layer file of {params.layer}"
    shell:
        "cnnpref collect --config {params.config:q} --layer {params.layer:q} > {log:q} 2>&1"


# A rule for each layer: how many pages there are depends on its units.
for number, layer in enumerate(plan.layers, 1):

    rule:
        name:
            f"sheets_{number}_{re.sub(r'[^A-Za-z0-9]', '_', layer)}"
        input:
            lambda wildcards, layer=layer: paths(files.SHEETS.reads, layer),
        output:
            [
                report(
                    str(path),
                    caption="../report/layer_sheet.rst",
                    category="Contact sheets",
                    labels=labels_of(layer, "all, side by side", path),
                )
                for path in plan.paths([files.LAYER_SHEET, files.LAYER_PDF], layer)
            ],
            [
                report(
                    str(path),
                    caption="../report/method_sheet.rst",
                    category="Contact sheets",
                    labels=labels_of(layer, page_of(path)[0], path),
                )
                for path in plan.paths([files.METHOD_SHEET, files.METHOD_PDF], layer)
            ],
            str(plan.path(files.LOOK, layer)),
        log:
            below(files.SHEETS.log).format(layer=escape(layer)),
        conda:
            "../../environment.yml"
        resources:
            gpu=0,
        params:
            config=as_read,
            layer=lambda wildcards, layer=layer: layer,
        message:
            "contact sheets of {params.layer}"
        shell:
            "cnnpref sheet --config {params.config:q} --layer {params.layer:q} > {log:q} 2>&1"


rule pages:
    input:
        lambda wildcards: paths(files.PAGES.reads, unescape(wildcards.layer)),
    output:
        [below(kind.path) for kind in files.PAGES.makes],
    log:
        below(files.PAGES.log),
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=as_read,
        layer=lambda wildcards: unescape(wildcards.layer),
    message:
        "pages of {params.layer}"
    shell:
        "cnnpref pages --config {params.config:q} --layer {params.layer:q} > {log:q} 2>&1"


rule gallery:
    input:
        lambda wildcards: paths(files.GALLERY.reads),
    output:
        [str(path) for path in plan.paths(files.GALLERY.makes)],
    log:
        below(files.GALLERY.log),
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=as_read,
    message:
        f"gallery {plan.path(files.INDEX)}"
    shell:
        "cnnpref gallery --config {params.config:q} > {log:q} 2>&1"


rule share:
    input:
        lambda wildcards: paths(files.SHARING.reads),
    output:
        report(
            directory(below(files.SHARE.path)),
            caption="../report/gallery.rst",
            htmlindex="index.html",
            category="Gallery",
            labels={"layer": "all", "method": "all"},
        ),
    log:
        below(files.SHARING.log),
    conda:
        "../../environment.yml"
    resources:
        gpu=0,
    params:
        config=as_read,
    message:
        f"gallery to share {plan.path(files.SHARE)}"
    shell:
        "cnnpref share --config {params.config:q} > {log:q} 2>&1"
