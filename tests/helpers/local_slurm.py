"""A real Slurm on this machine alone, with pretended GPUs; it leaves nothing behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

GPUS, CPUS = 2, 8
DAEMONS, COMMANDS = ("munged", "slurmctld", "slurmd"), ("sbatch", "srun", "squeue", "scontrol")

# One node, which is this machine; it claims to have what it may not have.
CONFIG = f"""
ClusterName=test
SlurmctldHost={{host}}(127.0.0.1)
SlurmctldPort={{ports[0]}}
SlurmdPort={{ports[1]}}
SlurmUser=root
AuthInfo=socket={{folder}}/munge/socket
MailProg=/bin/true
StateSaveLocation={{folder}}/state
SlurmdSpoolDir={{folder}}/spool
SlurmctldPidFile={{folder}}/slurmctld.pid
SlurmdPidFile={{folder}}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
{{accounting}}
MinJobAge=43200
BatchStartTimeout=5
SlurmdTimeout=10
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={{host}} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory=64000 Gres=gpu:{GPUS}
PartitionName=main Nodes=ALL Default=YES
"""

# What squeue tells of a job; times in seconds since 1970.
FIELDS = (
    *("JobArrayID", "State", "RestartCnt", "tres-per-job", "MinMemory"),
    *("StartTime", "EndTime", "Comment"),
)


def why_not() -> str | None:
    """What keeps this machine from having a Slurm of its own; None if nothing does."""
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    missing = [name for name in (*DAEMONS, *COMMANDS) if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    return None


def wait_until(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Look five times a second, and give up with a TimeoutError."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s there is still no {what}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Job:
    """A Slurm job, or a task of an array: `id` is "7" or "7_3", `memory` such as "4000M"."""

    id: str
    state: str
    restarts: int
    gpus: int
    memory: str
    start: float
    end: float
    comment: str

    @property
    def rule(self) -> str:
        """The rule's name, and its wildcards."""
        return self.comment.removeprefix("rule_")


class LocalSlurm:
    """The daemons, in a folder of their own, and what one asks them.

    Attributes:
        accounting: lines of slurm.conf.
    """

    accounting = "AccountingStorageType=accounting_storage/none"

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "slurm.conf"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # The plugin's jobs lose SLURM_CONF before they call srun: ours brings it back.
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "SLURM_CONF": str(self.config), "PATH": path}

    def start(self) -> None:
        munge = self.folder / "munge"
        self._configure()
        files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        self.launch("munged", "--foreground", *(f"--{name}={munge / name}" for name in files))
        wait_until((munge / "socket").exists, "socket of munged")
        self.start_accounting()
        self.launch("slurmctld", "-D", "-f", str(self.config))
        self.start_node()

    def start_accounting(self) -> None:
        """There is none here."""

    def start_node(self) -> None:
        """Start the node's daemon; come back when the node takes jobs."""
        self.launch("slurmd", "-D", "-f", str(self.config))
        up = ("idle", "mixed", "allocated")
        wait_until(lambda: self.ask("sinfo", "-h", "-o", "%T").strip() in up, "node")

    def crash_node(self) -> None:
        """The node's daemon and all that it runs die at once, and say nothing."""
        self.end("slurmd", signal.SIGKILL)
        for pid in self._processes_of_jobs():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.crash_node()
        self.end("slurmctld", signal.SIGTERM)
        self.end("munged", signal.SIGTERM)

    def ask(self, *command: str) -> str:
        """What a command of Slurm's answers; nothing while the controller does not."""
        environment = {**self.environment, "SLURM_TIME_FORMAT": "%s"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    def jobs(self) -> list[Job]:
        """All that were ever submitted, the oldest first."""
        columns = ",".join(f"{field}:|" for field in FIELDS)
        rows = self.ask("squeue", "--states=all", "--array", "-h", "-S", "i", "-O", columns)
        return [_job(*row.split("|")[: len(FIELDS)]) for row in rows.splitlines()]

    def _configure(self) -> None:
        for name in ("munge", "state", "spool", "log", "gpu", "bin"):
            (self.folder / name).mkdir()
        for number in range(GPUS):
            os.mknod(self.folder / f"gpu/{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        host, ports = socket.gethostname().partition(".")[0], free_ports(2)
        fields = {"host": host, "ports": ports, "folder": self.folder}
        self.config.write_text(CONFIG.format(**fields, accounting=self.accounting))
        devices = f"{self.folder}/gpu/[0-{GPUS - 1}]"
        (self.folder / "gres.conf").write_text(f"Name=gpu File={devices}\n")
        srun = self.folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge" / "key-file"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for path in (key, key.parent):
            shutil.chown(path, "munge", "munge")

    def launch(self, name: str, *args: str) -> None:
        user = "munge" if name == "munged" else None
        with (self.folder / "log" / name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [name, *args],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                start_new_session=True,
            )

    def end(self, name: str, how: signal.Signals) -> None:
        if daemon := self.running.pop(name, None):
            daemon.send_signal(how)
            daemon.wait(20)

    def _processes_of_jobs(self) -> Iterator[int]:
        """Of this Slurm alone; first those that watch over a job, which would tell of its end."""
        ours = [pid for pid in _processes() if f"SLURM_CONF={self.config}" in _read(pid, "environ")]
        steps = [pid for pid in ours if _read(pid, "cmdline")[0].startswith("slurmstepd")]
        yield from steps
        for pid in ours:
            if any(line.startswith("SLURM_JOB_ID=") for line in _read(pid, "environ")):
                yield pid


def _job(number: str, state: str, restarts: str, gpus: str, memory: str, *rest: str) -> Job:
    *when, comment = rest
    times = [float(text) if text.isdigit() else 0.0 for text in when]
    count = int(gpus.rpartition(":")[2]) if "gpu" in gpus else 0
    return Job(number, state, int(restarts), count, memory, *times, comment)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> list[str]:
    """The parts of a file of /proc; of one that has ended, an empty one."""
    try:
        return Path("/proc", str(pid), name).read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


@contextmanager
def local_slurm(kind: type[LocalSlurm] = LocalSlurm) -> Iterator[LocalSlurm]:
    """A Slurm that runs; its folder lies where the user munge may look."""
    folder = Path(tempfile.mkdtemp(prefix="cnnpref-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    slurm = kind(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(folder)
