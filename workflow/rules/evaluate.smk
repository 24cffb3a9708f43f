rule evaluate:
    input:
        variants=variant_stages(),
        weights=variant_weights(),
        features=run_features,
        dev=run_data("dev.jsonl.gz"),
        gold=run_data("dev-gold.json.gz"),
    output:
        stage=f"{OUT}/evaluate/{{run}}/stage.json",
    log:
        f"{LOGS}/evaluate/{{run}}.log",
    conda:
        ENVIRONMENT
    threads: PLAN.config["evaluate"]["threads"]
    resources:
        gpu=PLAN.training_processes,  # computes on the first: no two jobs share it
    params:
        spec=spec("evaluate"),
        variants=variant_options(),
    shell:
        "qaprune evaluate --spec {params.spec:q} {params.variants} --features {input.features}"
        " --dev {input.dev} --gold {input.gold} --out {output.stage} --log {log}"
