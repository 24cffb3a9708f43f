"""qaprune: teacher -> gate -> prune -> recover -> evaluate -> profile -> report.

Default config: config/embedded.yaml. Others go over it: --configfile config/small.yaml
"""

from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/teacher.smk"
include: "workflow/rules/gate.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/recover.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/profile.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{OUT}/stage.json",


rule teachers:
    input:
        [f"{OUT}/teacher/{run.id}/stage.json" for run in PLAN.all_runs if PLAN.trained(run) == run],
