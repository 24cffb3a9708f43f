rule prune:
    input:
        teacher=f"{OUT}/teacher/{{run}}/stage.json",
        weights=f"{OUT}/teacher/{{run}}/model.safetensors",
        gate=point_scores,
        features=run_features,
        holdout=run_data("holdout.jsonl.gz"),
        latency=point_latency,
    output:
        stage=f"{OUT}/prune/{{run}}/{{point}}/stage.json",
        weights=kept("pruned", f"{OUT}/prune/{{run}}/{{point}}/model.safetensors"),
    log:
        f"{LOGS}/prune/{{run}}/{{point}}.log",
    conda:
        ENVIRONMENT
    threads: PLAN.config["compute"]["threads"]
    resources:
        gpu=PLAN.training_processes,  # computes on the first: no two jobs share it
    params:
        spec=spec("prune"),
        latency=latency_option,
    shell:
        "qaprune prune --spec {params.spec:q} --teacher {input.teacher} --gate {input.gate}"
        " --features {input.features} --holdout {input.holdout} {params.latency} --out {output.stage} --log {log}"
