rule corpus:
    output:
        stage=f"{OUT}/corpus/stage.json",
    log:
        f"{LOGS}/corpus.log",
    conda:
        ENVIRONMENT
    params:
        spec=spec("corpus"),
    shell:
        "qaprune corpus --spec {params.spec:q} --out {output.stage} --log {log}"


rule data:
    input:
        local=local_files("data"),
        corpus=corpus_input,
    output:
        stage=f"{OUT}/data/{{dataset}}/stage.json",
        train=f"{OUT}/data/{{dataset}}/train.jsonl.gz",
        holdout=f"{OUT}/data/{{dataset}}/holdout.jsonl.gz",
        dev=f"{OUT}/data/{{dataset}}/dev.jsonl.gz",
        gold=f"{OUT}/data/{{dataset}}/dev-gold.json.gz",
    log:
        f"{LOGS}/data/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: lambda wildcards: PLAN.reader_threads(wildcards.dataset)
    params:
        spec=spec("data"),
        corpus=lambda wildcards, input: f"--corpus {input.corpus}" if input.corpus else "",
    shell:
        "qaprune data --spec {params.spec:q} {params.corpus} --threads {threads}"
        " --out {output.stage} --log {log}"


rule encoder:
    input:
        local=local_files("encoder"),
        corpus=corpus_input,
    output:
        stage=f"{OUT}/encoder/{{model}}/stage.json",
    log:
        f"{LOGS}/encoder/{{model}}.log",
    conda:
        ENVIRONMENT
    params:
        spec=spec("encoder"),
        corpus=lambda wildcards, input: f"--corpus {input.corpus}" if input.corpus else "",
    shell:
        "qaprune encoder --spec {params.spec:q} {params.corpus} --out {output.stage} --log {log}"


rule features:
    input:
        train=f"{OUT}/data/{{dataset}}/train.jsonl.gz",
        holdout=f"{OUT}/data/{{dataset}}/holdout.jsonl.gz",
        dev=f"{OUT}/data/{{dataset}}/dev.jsonl.gz",
        encoder=f"{OUT}/encoder/{{model}}/stage.json",
    output:
        stage=f"{OUT}/features/{{model}}-{{dataset}}/stage.json",
    log:
        f"{LOGS}/features/{{model}}-{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: lambda wildcards: PLAN.reader_threads(wildcards.dataset)
    params:
        spec=spec("features"),
    shell:
        "qaprune features --spec {params.spec:q} --train {input.train} --holdout {input.holdout}"
        " --dev {input.dev} --encoder {input.encoder} --threads {threads} --out {output.stage} --log {log}"
