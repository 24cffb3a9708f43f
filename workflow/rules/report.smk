rule report:
    input:
        evaluate=[f"{OUT}/evaluate/{run.id}/stage.json" for run in PLAN.runs if not PLAN.untrained],
        profile=[f"{OUT}/profile/{run.id}/stage.json" for run in PLAN.runs],
    output:
        stage=f"{OUT}/stage.json",
        points=f"{OUT}/tables/points.csv",
        table=f"{OUT}/tables/points.md",
        matrix=f"{OUT}/tables/matrix.csv",
        plots=[
            f"{OUT}/plots/{pair}.{kind}"
            for pair in dict.fromkeys(run.pair for run in PLAN.runs)
            for kind in ("png", "svg")
        ],
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        spec=spec("report"),
    shell:
        "qaprune report --spec {params.spec:q} --evaluate {input.evaluate}"
        " --profile {input.profile} --out {output.stage} --log {log}"
