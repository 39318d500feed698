"""Slurm on the loopback interface, from a distribution's packages, for tests: no accounting, two nodes that are one.

Everything, its munge too, lives in one folder and belongs to who starts it; only processes that it started are ended.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
CLIENTS = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=3600
SlurmdTimeout=20
KillWait=3
ReturnToService=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=1000 State=UP
"""


def absent() -> str:
    """What is missing for a cluster here; empty where nothing is."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    return f"no Slurm here ({', '.join(lacking)} missing): apt-get install slurm-wlm munge" if lacking else ""


class Cluster:
    """`with Cluster(folder) as cluster`: `cluster.env` is the environment in which sbatch and Snakemake find it."""

    def __init__(self, folder):
        self.folder, self.processes = Path(folder).resolve(), {}
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        self.programs = {name: shutil.which(name, path=path) for name in CLIENTS}
        self.env = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder}/bin:{path}"}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir(exist_ok=True)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        host = socket.gethostname().partition(".")[0]
        text = CONF.format(host=host, user=user, folder=self.folder, ports=[_free_port() for _ in range(3)])
        (self.folder / "slurm.conf").write_text(text)
        self._wrap_clients()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        names = {"socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        files = [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", *files)
            self._until(lambda: (self.folder / "munge.socket").exists(), "munged has no socket")
            self._start("slurmctld", "-D")
            for node in ("node1", "node2"):
                self._start("slurmd", "-D", "-N", node, name=node)
            self._until(lambda: self.states() == {"node1": "idle", "node2": "idle"}, "the nodes are not idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if "slurmctld" in self.processes:
            self.tell("scancel", "--signal=KILL", "--full", "--state=RUNNING")
        for process in reversed(self.processes.values()):
            process.terminate()
            process.wait(60)

    def _wrap_clients(self):
        """Snakemake takes SLURM_* out of its jobs' environment; a real cluster's settings lie where all look."""
        (self.folder / "bin").mkdir(exist_ok=True)
        for name, program in self.programs.items():
            script = self.folder / "bin" / name
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {program} "$@"\n')
            script.chmod(0o755)

    def _start(self, *command, name=""):
        log = (self.folder / f"{name or command[0]}.out").open("ab")
        self.processes[name or command[0]] = subprocess.Popen(
            command, env=self.env, stdout=log, stderr=log, start_new_session=True
        )

    def _until(self, done, what, seconds=120):
        until = time.monotonic() + seconds
        while not done():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > until:
                logs = "".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.out")))
                raise RuntimeError(f"{what}; ended: {ended}\n{logs}")
            time.sleep(0.2)

    def tell(self, *command) -> str:
        """Output of a Slurm command."""
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120).stdout

    def states(self) -> dict[str, str]:
        """Node → its state."""
        lines = self.tell("sinfo", "-h", "-N", "-o", "%N %t").split("\n")
        return {name: state.strip("*") for name, _, state in (line.strip().partition(" ") for line in lines) if name}

    def running(self) -> dict[str, str]:
        """Job number → its node."""
        lines = self.tell("squeue", "-h", "-t", "R", "-o", "%i %N").split("\n")
        return dict(line.split() for line in lines if line.strip())


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
