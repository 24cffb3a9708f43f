rule recover:
    input:
        model=f"{OUT}/prune/{{run}}/{{point}}/stage.json",
        weights=f"{OUT}/prune/{{run}}/{{point}}/model.safetensors",
        logits=f"{OUT}/teacher/{{run}}/logits.safetensors",
        teacher=distilled_teacher,
        teacher_weights=distilled_teacher_weights,
        features=run_features,
        holdout=run_data("holdout.jsonl.gz"),
    output:
        stage=f"{OUT}/recover/{{run}}/{{point}}/{{kind}}/stage.json",
        weights=kept("recovered", f"{OUT}/recover/{{run}}/{{point}}/{{kind}}/model.safetensors"),
    log:
        f"{LOGS}/recover/{{run}}/{{point}}/{{kind}}.log",
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        gpu=PLAN.training_processes,
    params:
        launch=LAUNCH,
        spec=spec("recover"),
        teacher=lambda wildcards, input: f"--teacher {input.teacher}" if input.teacher else "",
    shell:
        "{params.launch} recover --spec {params.spec:q} --model {input.model} --logits {input.logits} {params.teacher}"
        " --features {input.features} --holdout {input.holdout} --out {output.stage} --log {log}"


rule teacher_plus:
    input:
        model=f"{OUT}/teacher/{{run}}/stage.json",
        weights=f"{OUT}/teacher/{{run}}/model.safetensors",
        features=run_features,
        holdout=run_data("holdout.jsonl.gz"),
    output:
        stage=f"{OUT}/recover/{{run}}/teacher+/stage.json",
        weights=kept("recovered", f"{OUT}/recover/{{run}}/teacher+/model.safetensors"),
    log:
        f"{LOGS}/recover/{{run}}/teacher+.log",
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        gpu=PLAN.training_processes,
    params:
        launch=LAUNCH,
        spec=lambda wildcards: spec_json(PLAN.spec("recover", run=wildcards.run, kind="teacher+")),
    shell:
        "{params.launch} recover --spec {params.spec:q} --model {input.model}"
        " --features {input.features} --holdout {input.holdout} --out {output.stage} --log {log}"
