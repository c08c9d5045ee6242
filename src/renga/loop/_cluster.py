"""Processes that a cluster's launcher has started: how many they are, which this one is, where they meet.

Slurm and Open MPI write all of that into the environment. On Kubernetes and Cloud TPU JAX asks the cluster's own
service, so there only whether to ask is decided here.
"""

import importlib.util
import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from renga.loop._directory import versions
from renga.loop._errors import RunError, SettingError
from renga.loop._peers import join

PORTS = 61440, 4096  # the first of the ports to meet at, and how many there are: a job has one of them
_FIELD = 256  # bytes in which an address is sent


class Launched(NamedTuple):
    """What a launcher says to one of its processes.

    Attributes:
      launcher: its name, in `LAUNCHERS`.
      num_processes: how many there are; None if JAX must ask.
      process_id: which this one is; None if JAX must ask.
      coordinator: `host:port` where process 0 is found; None if JAX must ask.
      local_id: which this one is among those of its machine, where JAX does not read that itself.
    """

    launcher: str
    num_processes: int | None = None
    process_id: int | None = None
    coordinator: str | None = None
    local_id: int | None = None


def find_launched(cluster: str = "auto", environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Finds out which launcher has started this process.

    Args:
      cluster: a name in `LAUNCHERS` to look for it alone, `auto` for any of them, `none` for none.
      environment: the environment variables.

    Returns:
      What it says; None if there is none.

    Raises:
      RunError: if the name is unknown, the launcher that is looked for is not there, or what it says makes no sense.

    Example:
      >>> slurm = {"SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_NTASKS": "2"}
      >>> find_launched("auto", slurm | {"SLURM_PROCID": "1", "SLURM_LOCALID": "0"})
      Launched(launcher='slurm', num_processes=2, process_id=1, coordinator='gpu03:63827', local_id=None)
    """
    if cluster == "none":
        return None
    if cluster != "auto" and cluster not in LAUNCHERS:
        raise SettingError(f"--cluster must be auto, none, {' or '.join(LAUNCHERS)}, got {cluster!r}")
    for name in LAUNCHERS if cluster == "auto" else (cluster,):
        found = LAUNCHERS[name](environment)
        if found is not None:
            return found
    if cluster != "auto":
        raise RunError(f"--cluster {cluster}: this process was not started by it; {_SIGNS[cluster]}")
    return None


def join_cluster(cluster: str = "auto", timeout: float = 300.0) -> Launched | None:
    """Makes one machine of the devices of all processes that a launcher has started.

    Does nothing where there is no launcher, or where it has started one process alone.

    Args:
      cluster: as in `find_launched`.
      timeout: how many seconds to wait for the others.

    Returns:
      What the launcher says; None if this process is alone.

    Raises:
      RunError: as `find_launched`; or if the others do not come in time or are not the same.

    Example:
      >>> print(join_cluster("none"))  # whatever has started this process, it stays alone
      None
    """
    found = find_launched(cluster)
    if found is None or found.num_processes == 1:
        return None
    facts = {f"version of {name}": version for name, version in versions().items()}
    if found.coordinator is None or found.num_processes is None or found.process_id is None:
        jax.distributed.initialize(initialization_timeout=int(timeout))
        found = found._replace(num_processes=jax.process_count(), process_id=jax.process_index())
        join(_agreed_address(), jax.process_count(), jax.process_index(), timeout, facts, start=lambda: None)
        return found

    def start() -> None:
        if found.local_id is None:  # JAX finds the rest where we did
            jax.distributed.initialize(found.coordinator)
        else:
            jax.distributed.initialize(found.coordinator, found.num_processes, found.process_id, found.local_id)

    join(found.coordinator, found.num_processes, found.process_id, timeout, facts, start)
    return found


def _agreed_address() -> str:
    """An address of process 0 that it tells to the others through JAX."""
    from jax.experimental import multihost_utils

    address = b""
    if jax.process_index() == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            address = f"{_own_address()}:{free.getsockname()[1]}".encode()
    sent = multihost_utils.broadcast_one_to_all(np.frombuffer(address.ljust(_FIELD, b"\0"), np.uint8))
    return bytes(np.asarray(sent)).rstrip(b"\0").decode()


def _own_address() -> str:
    """The address that others reach this machine by: that of the way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # an address for documentation: nothing is sent
        except OSError:
            return socket.gethostname()
        return way.getsockname()[0]


def _open_mpi(environment: Mapping[str, str]) -> Launched | None:
    if "OMPI_COMM_WORLD_SIZE" not in environment:
        return None
    uri, namespace = environment.get("OMPI_MCA_orte_hnp_uri"), environment.get("PMIX_NAMESPACE", "")
    size, rank, local = (
        _number(environment, f"OMPI_COMM_WORLD_{name}", "ompi") for name in ("SIZE", "RANK", "LOCAL_RANK")
    )
    given = environment.get("JAX_COORDINATOR_ADDRESS")
    if uri is not None:  # Open MPI 4: JOB.0;tcp://IP[,IP …]:PORT of mpirun
        job, address = re.match(r"(\d+)\.", uri), re.search(r"tcp[46]?://([^,:/]+|\[[^]]+\])", uri)
        if job is None or address is None:
            raise RunError(f"--cluster ompi: OMPI_MCA_orte_hnp_uri must name a job and an address, got {uri!r}")
        return Launched("ompi", size, rank, given or _address(address[1], int(job[1]) // 4096))
    named = re.fullmatch(r"prterun-(.+)-(\d+)@\d+", namespace)  # Open MPI 5: the machine and the process of mpirun
    if given is None and named is None and size > 1:
        raise RunError(
            "--cluster ompi: this Open MPI does not say where the processes meet; "
            "pass -x JAX_COORDINATOR_ADDRESS=HOST:PORT to mpirun, with the host of rank 0"
        )
    return Launched("ompi", size, rank, given or (_address(named[1], int(named[2])) if named else None), local)


def _slurm(environment: Mapping[str, str]) -> Launched | None:
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if any(name not in environment for name in names):
        return None  # a shell of salloc or a script of sbatch, before srun
    job, size, rank = (_number(environment, f"SLURM_{name}", "slurm") for name in ("JOB_ID", "NTASKS", "PROCID"))
    step = environment.get("SLURM_STEP_ID", "0")
    own = _address(first_host(environment["SLURM_STEP_NODELIST"]), 31 * job + (int(step) if step.isdigit() else 0))
    return Launched("slurm", size, rank, environment.get("JAX_COORDINATOR_ADDRESS", own))


def _kubernetes(environment: Mapping[str, str]) -> Launched | None:
    is_indexed = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    return Launched("k8s") if is_indexed and importlib.util.find_spec("kubernetes") else None


def _tpu(environment: Mapping[str, str]) -> Launched | None:
    is_many = "," in environment.get("TPU_WORKER_HOSTNAMES", "") or "MEGASCALE_COORDINATOR_ADDRESS" in environment
    return Launched("tpu") if is_many else None


LAUNCHERS: Mapping[str, Callable[[Mapping[str, str]], Launched | None]] = {
    "ompi": _open_mpi,
    "slurm": _slurm,
    "k8s": _kubernetes,
    "tpu": _tpu,
}
_SIGNS = {
    "ompi": "mpirun of Open MPI sets OMPI_COMM_WORLD_SIZE",
    "slurm": "srun sets SLURM_STEP_NODELIST and SLURM_PROCID",
    "k8s": "an indexed Job sets JOB_COMPLETION_INDEX, and the package kubernetes must be installed: jax[k8s]",
    "tpu": "a slice of several machines sets TPU_WORKER_HOSTNAMES",
}


def first_host(nodes: str) -> str:
    """Returns the first machine of a list as Slurm writes it.

    Example:
      >>> [first_host(nodes) for nodes in ("a", "a,b", "gpu[03-07,9],cpu1", "rack[1-2]-node[5,7]")]
      ['a', 'a', 'gpu03', 'rack1-node5']
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _address(host: str, job: int) -> str:
    """Where the processes of a job meet: other jobs on the same machine have other ports."""
    first, count = PORTS
    return f"{host}:{first + job % count}"


def _number(environment: Mapping[str, str], name: str, launcher: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise SettingError(f"--cluster {launcher}: {name} must be a number, got {text!r}")
    return int(text)
