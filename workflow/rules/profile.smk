rule profile:
    input:
        variants=variant_stages(timed=True),
        weights=variant_weights(timed=True),
        features=run_features,
    output:
        stage=f"{OUT}/profile/{{run}}/stage.json",
    log:
        f"{LOGS}/profile/{{run}}.log",
    conda:
        ENVIRONMENT
    # All cores: no other job may run while this one times.
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        spec=spec("profile"),
        variants=variant_options(timed=True),
    shell:
        "qaprune profile --spec {params.spec:q} {params.variants}"
        " --features {input.features} --out {output.stage} --log {log}"
