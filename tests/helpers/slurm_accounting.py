"""A Slurm with accounting: slurmdbd above a MariaDB, both in the Slurm's folder."""

from __future__ import annotations

import shutil
import signal
import subprocess

import local_slurm
from local_slurm import LocalSlurm, free_ports, wait_until

COMMANDS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "sacct", "sacctmgr")
DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdPort={ports[0]}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[1]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
USER = """
CREATE DATABASE slurm;
CREATE USER slurm@'%' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@'%';
"""


def why_not() -> str | None:
    """What keeps this machine from having one; None if nothing does."""
    missing = [name for name in COMMANDS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurmdbd mariadb-server"
    return local_slurm.why_not()


class AccountingSlurm(LocalSlurm):
    """Jobs are recorded in a data base, where `sacct` finds them."""

    ports: list[int]

    @property
    def accounting(self) -> str:  # type: ignore[override]
        """Lines of slurm.conf."""
        self.ports = free_ports(2)
        place = f"Host=localhost Port={self.ports[0]} Pass={self.folder}/munge/socket"
        values = ["Type=accounting_storage/slurmdbd", *place.split()]
        return "\n".join(f"AccountingStorage{value}" for value in values)

    def start_accounting(self) -> None:
        """Start both daemons; come back when they take jobs' records."""
        self._start_database()
        path = self.folder / "slurmdbd.conf"
        path.write_text(DATABASE.format(folder=self.folder, ports=self.ports))
        path.chmod(0o600)
        self.launch("slurmdbd", "-D")
        wait_until(lambda: "Cluster" in self.ask("sacctmgr", "list", "cluster"), "slurmdbd")
        for what in ("cluster test", "account lab", "user root account=lab"):
            self.ask("sacctmgr", "--immediate", "add", *what.split())

    def _start_database(self) -> None:
        data, place = self.folder / "data", self.folder / "database.socket"
        made = ["mariadb-install-db", f"--datadir={data}", "--user=root", "--skip-test-db"]
        subprocess.run(made, check=True, capture_output=True)
        options = [f"--datadir={data}", f"--socket={place}", f"--port={self.ports[1]}"]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"]
        where = ["--bind-address=127.0.0.1", "--user=root"]
        self.launch("mariadbd", "--no-defaults", *options, *small, *where)
        ask = ["mariadb", "--no-defaults", f"--socket={place}", "--user=root", "--execute"]
        wait_until(
            lambda: not subprocess.run([*ask, ""], capture_output=True).returncode, "mariadbd"
        )
        subprocess.run([*ask, USER], check=True, capture_output=True)

    def stop(self) -> None:
        super().stop()
        for name in ("slurmdbd", "mariadbd"):
            self.end(name, signal.SIGTERM)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
