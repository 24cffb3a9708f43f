rule latency:
    input:
        encoder=pair_encoder,
        features=f"{OUT}/features/{{pair}}/stage.json",
    output:
        stage=f"{OUT}/latency/{{pair}}/stage.json",
    log:
        f"{LOGS}/latency/{{pair}}.log",
    conda:
        ENVIRONMENT
    # All cores: no other job may run while this one times.
    threads: workflow.cores
    resources:
        gpu=PLAN.training_processes,  # computes on the first: no two jobs share it
    params:
        spec=spec("latency"),
    shell:
        "qaprune latency --spec {params.spec:q} --encoder {input.encoder} --features {input.features}"
        " --out {output.stage} --log {log}"


rule profile:
    input:
        variants=variant_stages(timed=True),
        weights=variant_weights(timed=True),
        encoder=untrained_encoder,
        features=run_features,
        dev=run_data("dev.jsonl.gz"),
    output:
        stage=f"{OUT}/profile/{{run}}/stage.json",
    log:
        f"{LOGS}/profile/{{run}}.log",
    conda:
        ENVIRONMENT
    # All cores: no other job may run while this one times.
    threads: workflow.cores
    resources:
        gpu=PLAN.training_processes,  # computes on the first: no two jobs share it
    params:
        spec=spec("profile"),
        variants=variant_options(timed=True),
        encoder=lambda wildcards, input: f"--encoder {input.encoder}" if input.encoder else "",
    shell:
        "qaprune profile --spec {params.spec:q} {params.variants} {params.encoder}"
        " --features {input.features} --dev {input.dev} --out {output.stage} --log {log}"
