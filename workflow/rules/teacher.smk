rule teacher:
    input:
        encoder=run_start,
        encoder_weights=run_start_weights,
        local=local_files("teacher"),
        features=run_features,
        holdout=run_data("holdout.jsonl.gz"),
    output:
        stage=f"{OUT}/teacher/{{run}}/stage.json",
        weights=kept("teacher", f"{OUT}/teacher/{{run}}/model.safetensors"),
        logits=kept("teacher", f"{OUT}/teacher/{{run}}/logits.safetensors"),
    log:
        f"{LOGS}/teacher/{{run}}.log",
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        gpu=PLAN.training_processes,
    params:
        launch=LAUNCH,
        spec=spec("teacher"),
    shell:
        "{params.launch} teacher --spec {params.spec:q} --encoder {input.encoder}"
        " --features {input.features} --holdout {input.holdout} --out {output.stage} --log {log}"
