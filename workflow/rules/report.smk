rule report:
    input:
        evaluate=[f"{OUT}/evaluate/{run.id}/stage.json" for run in PLAN.runs if not PLAN.untrained],
        profile=[f"{OUT}/profile/{run.id}/stage.json" for run in PLAN.runs],
    output:
        stage=f"{OUT}/stage.json",
        page=report(
            f"{OUT}/report.html",
            caption="../report/page.rst",
            category="Page",
            labels={"what": "the whole report"},
        ),
        points=report(
            f"{OUT}/tables/points.csv",
            caption="../report/points.rst",
            category="Tables",
            labels={"table": "points", "rows": "one a variant"},
        ),
        matrix=report(
            f"{OUT}/tables/matrix.csv",
            caption="../report/matrix.rst",
            category="Tables",
            labels={"table": "matrix", "rows": "one a variant and setting"},
        ),
        plots=[
            report(
                f"{OUT}/plots/{run.pair}.svg",
                caption="../report/plot.rst",
                category="Plots",
                labels={"model": run.model, "data set": run.dataset},
            )
            for run in PAIRS
        ],
        table=f"{OUT}/tables/points.md",
        images=[f"{OUT}/plots/{run.pair}.png" for run in PAIRS],
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        spec=spec("report"),
    shell:
        "qaprune report --spec {params.spec:q} --evaluate {input.evaluate}"
        " --profile {input.profile} --out {output.stage} --log {log}"
