"""A project whose jobs a Slurm of this machine runs."""

from __future__ import annotations

from pathlib import Path

from local_slurm import Job, LocalSlurm
from running import ROOT, Config, Project

PROFILE = str(ROOT / "workflow" / "profiles" / "slurm")
# The profile's own pace is that of jobs that take hours.
FASTER = ("--slurm-init-seconds-before-status-checks", "2")


class SlurmProject(Project):
    """Runs Snakemake with the profile; knows the jobs that came of it."""

    arguments = ("--profile", PROFILE, *FASTER)
    timeout = 400

    def __init__(self, folder: Path, config: Config, slurm: LocalSlurm) -> None:
        super().__init__(folder, config)
        self.slurm, self.environment = slurm, slurm.environment
        self.before = len(slurm.jobs())

    def jobs(self, rule: str = "") -> list[Job]:
        """Those of the rules whose names begin so, the oldest first."""
        return [job for job in self.slurm.jobs()[self.before :] if job.rule.startswith(rule)]

    def at_work(self) -> bool:
        """Whether a batch is being computed."""
        return any(": evaluation " in log for log in self.logs())

    def logs(self) -> list[str]:
        """Of the batches."""
        return [p.read_text() for p in self.folder.glob("results/*/logs/generate/**/*.log")]

    def inodes(self) -> dict[Path, int]:
        """Of each unit file: another one if it was written again; Snakemake touches all of them."""
        paths = self.folder.glob("results/*/units/**/*.h5")
        return {path: path.stat().st_ino for path in paths}

    def summary(self) -> str:
        """A line for each job: its id, state, seconds, rule."""
        lines = [
            f"{job.id:>5} {job.state:<10} {job.end - job.start:4.0f} s"
            f" {job.gpus} GPU {job.restarts} restarts  {job.rule}"
            for job in self.jobs()
        ]
        return "\n".join(lines)
