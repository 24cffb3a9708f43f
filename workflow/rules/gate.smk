rule gate:
    input:
        teacher=f"{OUT}/teacher/{{run}}/stage.json",
        weights=f"{OUT}/teacher/{{run}}/model.safetensors",
        logits=gate_logits,
        features=run_features,
        latency=gate_latency,
    output:
        stage=f"{OUT}/gate/{{run}}/{{scoring}}/stage.json",
    log:
        f"{LOGS}/gate/{{run}}/{{scoring}}.log",
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        gpu=PLAN.training_processes,
    params:
        launch=LAUNCH,
        spec=spec("gate"),
        latency=latency_option,
    shell:
        "{params.launch} gate --spec {params.spec:q} --teacher {input.teacher}"
        " --features {input.features} {params.latency} --out {output.stage} --log {log}"
