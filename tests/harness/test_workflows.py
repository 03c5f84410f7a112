"""Contracts of the CI workflows: what they run, where, for how long; each rule rejects a planted bad workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.harness

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
WORKFLOWS = ("ci.yml", "gpu.yml")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
VERSIONED = re.compile(r"uses: \S+  # v\d+\.\d+\.\d+$")
TRUSTED = {"push", "schedule", "workflow_dispatch"}  # none of them runs code of a fork or of a pull request
MAIN = {"branches": ["main"]}
HIDDEN_FAILURE = re.compile(r"\|\|\s*(true|:|exit 0)|set \+e")
OUTSIDERS_WORDS = re.compile(r"\$\{\{[^}]*(github\.event\.|github\.head_ref|inputs\.)")


def load(name):
    """Return a workflow; YAML 1.1 reads its key `on` as True."""
    workflow = yaml.safe_load((FOLDER / name).read_text())
    workflow["on"] = workflow.pop(True)
    return workflow


def steps_of(job, action=""):
    return [step for step in job["steps"] if action in step.get("uses", "")]


def violations(workflow):
    """Return which rules a workflow breaks."""
    broken = set()
    jobs_with_permissions = [job for job in jobs(workflow) if "permissions" in job]
    if workflow.get("permissions") != {"contents": "read"} or jobs_with_permissions:
        broken.add("permissions are not only contents: read")
    if not (workflow.get("concurrency") or {}).get("group"):
        broken.add("no concurrency group")
    if "pull_request_target" in workflow["on"]:
        broken.add("a pull request runs with the rights of main")
    for job in jobs(workflow):
        broken |= _of_limits(job) | _of_steps(job) | _of_tests(job)
        if "self-hosted" in job["runs-on"]:
            broken |= _of_own_machines(workflow, job)
    return broken


def jobs(workflow):
    return workflow["jobs"].values()


def all_steps(workflow):
    for job in jobs(workflow):
        yield from job["steps"]


def _of_limits(job):
    limits = [step.get("timeout-minutes") for step in job["steps"]]
    if "timeout-minutes" not in job or None in limits:
        return {"no time limit"}
    if sum(limits) > job["timeout-minutes"]:
        return {"no reserve for uploads"}
    return set()


def _of_steps(job):
    broken = set()
    for step in steps_of(job, "/"):
        if not PINNED.fullmatch(step["uses"]):
            broken.add("an action is not pinned to a commit")
    for step in steps_of(job, "actions/checkout"):
        if step.get("with", {}).get("persist-credentials") is not False:
            broken.add("the token stays in the working copy")
    for step in job["steps"]:
        if OUTSIDERS_WORDS.search(step.get("run", "")):
            broken.add("a command contains text from outsiders")
        if HIDDEN_FAILURE.search(step.get("run", "")) or "continue-on-error" in step:
            broken.add("a failure is hidden")
    if "continue-on-error" in job:
        broken.add("a failure is hidden")
    if "secrets." in str(job):
        broken.add("a secret is handed to a job")
    return broken


def _of_tests(job):
    tests = [step["run"] for step in job["steps"] if "pytest" in step.get("run", "")]
    if not tests:
        return set()
    broken = set()
    if any(not re.search(r"--at-least=[1-9]", command) for command in tests):
        broken.add("the tests that ran are not counted")
    last = job["steps"][-1]
    if "actions/upload-artifact" not in last.get("uses", "") or last.get("if") != "always()":
        broken.add("reports of a failure are not uploaded")
    return broken


def _of_own_machines(workflow, job):
    broken = set()
    if not set(workflow["on"]) <= TRUSTED or workflow["on"].get("push", MAIN) != MAIN:
        broken.add("a fork can reach our own machine")
    if "github.ref == 'refs/heads/main'" not in job.get("if", "") or "environment" not in job:
        broken.add("our own machine runs other branches than main")
    if set(job["runs-on"]) != {"self-hosted", "linux", "gpu"}:
        broken.add("the labels are not those of a GPU runner")
    return broken


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_keeps_every_rule(name):
    """The workflows of this repository break no rule."""
    assert violations(load(name)) == set()


def test_every_workflow_is_read():
    """A workflow that is added is checked against the rules, too."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(WORKFLOWS)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_pinned_action_names_its_release(name):
    """A comment next to the commit names the release, so that a person can judge it."""
    lines = [line for line in (FOLDER / name).read_text().splitlines() if "uses:" in line]
    assert lines
    assert all(VERSIONED.search(line) for line in lines)


@pytest.mark.parametrize(
    "name, commands",
    [
        ("ci.yml", ["make check", "-m pytest --report", "harness faults --json", "-m slow", "--matrix=matrix.json"]),
        ("gpu.yml", ["nvidia-smi", "-m gpu", "-m soak --soak="]),
    ],
)
def test_workflow_runs_what_the_docs_say(name, commands):
    """CI runs lint, tests, the zoo, bugs that begin late, and the page of the matrix; on a GPU, tests and a soak."""
    run = "\n".join(step.get("run", "") for step in all_steps(load(name)))
    assert [command for command in commands if command not in run] == []


def test_soak_runs_every_night():
    """Bugs that show only after an hour are looked for every night, not on every push."""
    workflow = load("gpu.yml")
    assert workflow["on"]["schedule"]
    assert "github.event_name != 'push'" in step_with(workflow, "run", "soak")["if"]


def test_soaks_end_before_their_time_limit():
    """--soak=MINUTES trains under guard and at the largest size for that long, and at two for an eighth of it."""
    step = step_with(load("gpu.yml"), "run", "soak")
    minutes = float(re.search(r"--soak=(\d+)", step["run"])[1])
    assert 60.0 <= (2.0 + 2.0 / 8.0) * minutes <= step["timeout-minutes"] - 10.0


def test_every_python_is_tested():
    """CI tests Isaac Gym's Python, the oldest one that MuJoCo supports, and a newer one."""
    test = load("ci.yml")["jobs"]
    assert test["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert step_with({"jobs": {"38": test["python-38"]}}, "uses", "setup-python")["with"]["python-version"] == "3.8"


def step_with(workflow, key, text):
    """Return the first step whose `key` contains `text`."""
    return next(step for step in all_steps(workflow) if text in step.get(key, ""))


def job_of(workflow):
    """Return the job that runs the tests."""
    return workflow["jobs"].get("gpu") or workflow["jobs"]["test"]


def unpinned(workflow):
    step_with(workflow, "uses", "checkout")["uses"] = "actions/checkout@v6"


def short_commit(workflow):
    step_with(workflow, "uses", "checkout")["uses"] = "actions/checkout@de0fac2"


def kept_token(workflow):
    del step_with(workflow, "uses", "checkout")["with"]


def injected(workflow):
    step_with(workflow, "run", "pytest")["run"] += " ${{ github.event.pull_request.title }}"


def uncounted(workflow):
    step = step_with(workflow, "run", "pytest")
    step["run"] = re.sub(r"--at-least=\d+", "", step["run"])


def zero_expected(workflow):
    step = step_with(workflow, "run", "pytest")
    step["run"] = re.sub(r"--at-least=\d+", "--at-least=0", step["run"])


def endless_job(workflow):
    del job_of(workflow)["timeout-minutes"]


def endless_step(workflow):
    del step_with(workflow, "run", "pytest")["timeout-minutes"]


def spent_reserve(workflow):
    step_with(workflow, "run", "pytest")["timeout-minutes"] = job_of(workflow)["timeout-minutes"]


def upload_only_of_success(workflow):
    del step_with(workflow, "uses", "upload-artifact")["if"]


def no_upload(workflow):
    del job_of(workflow)["steps"][-1]


def swallowed_failure(workflow):
    step_with(workflow, "run", "pytest")["run"] += " || true"


def forgiven_step(workflow):
    step_with(workflow, "run", "pytest")["continue-on-error"] = True


def forgiven_job(workflow):
    job_of(workflow)["continue-on-error"] = True


def secret(workflow):
    step_with(workflow, "run", "pytest")["env"] = {"TOKEN": "${{ secrets.TOKEN }}"}


def no_permissions(workflow):
    del workflow["permissions"]


def write_permission(workflow):
    workflow["permissions"]["contents"] = "write"


def wider_job(workflow):
    job_of(workflow)["permissions"] = {"id-token": "write"}


def no_concurrency(workflow):
    del workflow["concurrency"]


def pull_request_target(workflow):
    workflow["on"]["pull_request_target"] = None


EVERYWHERE = {
    unpinned: "an action is not pinned to a commit",
    short_commit: "an action is not pinned to a commit",
    kept_token: "the token stays in the working copy",
    injected: "a command contains text from outsiders",
    uncounted: "the tests that ran are not counted",
    zero_expected: "the tests that ran are not counted",
    endless_job: "no time limit",
    endless_step: "no time limit",
    spent_reserve: "no reserve for uploads",
    upload_only_of_success: "reports of a failure are not uploaded",
    no_upload: "reports of a failure are not uploaded",
    swallowed_failure: "a failure is hidden",
    forgiven_step: "a failure is hidden",
    forgiven_job: "a failure is hidden",
    secret: "a secret is handed to a job",
    no_permissions: "permissions are not only contents: read",
    write_permission: "permissions are not only contents: read",
    wider_job: "permissions are not only contents: read",
    no_concurrency: "no concurrency group",
    pull_request_target: "a pull request runs with the rights of main",
}


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize("damage", EVERYWHERE, ids=lambda damage: damage.__name__)
def test_planted_fault_is_named(name, damage):
    """Each rule rejects the workflow that breaks it."""
    workflow = load(name)
    damage(workflow)
    assert EVERYWHERE[damage] in violations(workflow)


def on_pull_request(workflow):
    workflow["on"]["pull_request"] = None


def on_workflow_run(workflow):
    workflow["on"]["workflow_run"] = {"workflows": ["ci"]}


def every_branch(workflow):
    workflow["on"]["push"]["branches"] = ["**"]


def without_condition(workflow):
    del workflow["jobs"]["gpu"]["if"]


def without_environment(workflow):
    del workflow["jobs"]["gpu"]["environment"]


def any_own_machine(workflow):
    workflow["jobs"]["gpu"]["runs-on"] = "self-hosted"


ON_OUR_OWN_MACHINE = {
    on_pull_request: "a fork can reach our own machine",
    on_workflow_run: "a fork can reach our own machine",
    every_branch: "a fork can reach our own machine",
    without_condition: "our own machine runs other branches than main",
    without_environment: "our own machine runs other branches than main",
    any_own_machine: "the labels are not those of a GPU runner",
}


@pytest.mark.parametrize("damage", ON_OUR_OWN_MACHINE, ids=lambda damage: damage.__name__)
def test_planted_way_to_our_own_machine_is_named(damage):
    """Events of forks, and branches other than main, never reach a self-hosted runner."""
    workflow = load("gpu.yml")
    damage(workflow)
    assert ON_OUR_OWN_MACHINE[damage] in violations(workflow)
