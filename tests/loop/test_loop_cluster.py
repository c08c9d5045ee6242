"""What a launcher says is read, and the processes that it has started are one machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from renga import loop
from renga.loop import RunError

from .test_loop_processes import free_port

SCRIPT = str(Path(__file__).with_name("launched.py"))
SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_NTASKS": "4"}
SLURM |= {"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
OMPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
OMPI_4 = OMPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.0.0.5,192.168.1.5:34911"}
OMPI_5 = OMPI | {"PMIX_NAMESPACE": "prterun-node-a-4242@1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4"}, None),  # a script of sbatch before srun
        (SLURM, ("slurm", 4, 3, f"gpu07:{61440 + 31 * 77 % 4096}", None)),
        (SLURM | {"SLURM_STEP_ID": "2"}, ("slurm", 4, 3, f"gpu07:{61440 + (31 * 77 + 2) % 4096}", None)),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "other:99"}, ("slurm", 4, 3, "other:99", None)),
        (OMPI_4, ("ompi", 4, 2, f"10.0.0.5:{61440 + 1531576320 // 4096 % 4096}", None)),
        (OMPI_5, ("ompi", 4, 2, f"node-a:{61440 + 4242 % 4096}", 0)),
        (OMPI | {"JAX_COORDINATOR_ADDRESS": "node:1234"}, ("ompi", 4, 2, "node:1234", 0)),
        (SLURM | OMPI_5, ("ompi", 4, 2, f"node-a:{61440 + 4242 % 4096}", 0)),  # mpirun within an allocation
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),  # a pod of no indexed Job
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "t-0,t-1"}, ("tpu", None, None, None, None)),
    ],
)
def test_what_a_launcher_says_is_read(environment, expected):
    assert loop.find_launched("auto", environment) == expected
    assert loop.find_launched("none", environment) is None


@pytest.mark.parametrize(
    ("cluster", "environment", "message"),
    [
        ("pbs", {}, "--cluster must be auto, none, ompi or slurm or k8s or tpu, got 'pbs'"),
        ("slurm", {}, "--cluster slurm: this process was not started by it; srun sets"),
        ("auto", SLURM | {"SLURM_NTASKS": "four"}, "--cluster slurm: SLURM_NTASKS must be a number, got 'four'"),
        ("auto", OMPI, "does not say where the processes meet; pass -x JAX_COORDINATOR_ADDRESS"),
        ("auto", OMPI | {"OMPI_MCA_orte_hnp_uri": "?"}, "OMPI_MCA_orte_hnp_uri must name a job and an address, got"),
    ],
)
def test_what_makes_no_sense_is_refused(cluster, environment, message):
    with pytest.raises(RunError, match=message):
        loop.find_launched(cluster, environment)


def together(*environments, arguments=((), ())):
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, *args], env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for environment, args in zip(environments, arguments, strict=True)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    return [text for out, err in said for text in re.findall("<said>(.*?)</said>", out, re.DOTALL) or [err]]


def of_slurm(n):
    job = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    return [job | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(n)]


def test_tasks_of_slurm_are_one_machine_and_say_so_if_they_do_not_share_a_directory(tmp_path):
    (tmp_path / "one").mkdir()
    shared, other = str(tmp_path / "one"), str(tmp_path / "other")
    assert together(*of_slurm(2), arguments=([shared], [shared])) == ["slurm 2 0 [0, 1]", "slurm 2 1 [0, 1]"]
    for said in together(*of_slurm(2), arguments=([shared], [other])):
        assert said.startswith("refused:")
        assert "must be one directory that all processes share: process 1 does not find there what" in said
    assert not list((tmp_path / "one").iterdir())


def test_processes_whose_numbers_jax_finds_meet_at_a_port_of_their_own():
    assert together(*of_slurm(2), arguments=(["ask"], ["ask"])) == ["k8s 2 0 [0, 1]", "k8s 2 1 [0, 1]"]


@pytest.mark.parametrize("version", [4, 5])
def test_processes_of_open_mpi_are_one_machine(version):
    job = free_port()
    said = {
        4: {"OMPI_MCA_orte_hnp_uri": f"{job * 4096}.0;tcp://127.0.0.1:34911"},
        5: {"PMIX_NAMESPACE": f"prterun-127.0.0.1-{job}@1"},
    }
    numbers = [{f"OMPI_COMM_WORLD_{n}": str(i) for n in ("RANK", "LOCAL_RANK")} for i in range(2)]
    found = together(*({"OMPI_COMM_WORLD_SIZE": "2"} | said[version] | n for n in numbers))
    assert found == ["ompi 2 0 [0, 1]", "ompi 2 1 [0, 1]"]


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun here (apt install openmpi-bin)")
def test_mpirun_itself_starts_one_machine():
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", sys.executable, SCRIPT]
    done = subprocess.run(
        command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=120
    )
    found = sorted(re.findall("<said>(.*?)</said>", done.stdout))
    assert found == ["ompi 2 0 [0, 1]", "ompi 2 1 [0, 1]"], done.stderr
