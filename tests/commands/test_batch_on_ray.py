"""`lumiere batch --ray` on a local cluster of two nodes, of which workers and whole nodes are lost."""

import json
import signal

import psutil
import pytest
from safetensors.torch import save_file

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.batch.folder import RESULTS, BatchFolder

ray = pytest.importorskip("ray", reason="needs Ray: pip install ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

PROMPTS = 20
SMALL = ["--frames", "2", "--steps", "2", "--no-ssr", "--device", "cpu", "--dtype", "float32"]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, so that a worker runs on either."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")  # else they wait for whatever else the machine does
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        cluster.second = cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def batch(cluster, tiny, tmp_path, capsys):
    def batch(*arguments, checkpoint=tiny.base):
        table = tmp_path / "prompts.jsonl"
        rows = [{"prompt": f"a star {number}", "output": f"{number}.gif", "seed": number} for number in range(PROMPTS)]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = ["batch", str(table), "--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
        code = cli.main([*command, *SMALL, "--ray", cluster.address, *arguments])
        return code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("lumiere: ")]

    return batch


def after(results, act, monkeypatch):
    """Do something once, when so many clips are there."""
    report, seen = BatchFolder.report, []

    def reporting(folder, job, outcome):
        report(folder, job, outcome)
        seen.append(job)
        if len(seen) == results:
            act()

    monkeypatch.setattr(BatchFolder, "report", reporting)


def makers():
    """The processes of this cluster's workers."""
    mine = psutil.Process().children(recursive=True)
    return [process for process in mine if any("RemoteMaker" in word for word in process.cmdline()[:1])]


def assert_each_once(folder):
    lines = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    expected = sorted(f"{number}.gif" for number in range(PROMPTS))
    assert sorted(line["output"] for line in lines) == expected
    assert sorted(file.name for file in folder.glob("*.gif")) == expected


def test_a_worker_is_killed_in_the_middle(batch, tmp_path, monkeypatch):
    killed = []

    def kill():
        process = makers()[0]
        killed.append(process.pid)
        process.send_signal(signal.SIGKILL)

    after(7, kill, monkeypatch)
    assert batch() == (0, [])
    assert killed
    assert_each_once(tmp_path / "out")


def test_networks_that_a_node_cannot_load(batch, tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    code, errors = batch(checkpoint=tmp_path / "empty.safetensors")
    assert code == 2 and len(errors) == 1 and "empty.safetensors" in errors[0]


def test_a_node_is_lost_in_the_middle(batch, cluster, tmp_path, monkeypatch):
    after(7, lambda: cluster.remove_node(cluster.second, allow_graceful=False), monkeypatch)
    assert batch() == (0, [])
    assert_each_once(tmp_path / "out")


def test_no_cluster_at_the_address(batch, tmp_path):
    code, errors = batch("--ray", "127.0.0.1:1")
    assert code == 2 and len(errors) == 1 and "no Ray cluster answers at 127.0.0.1:1" in errors[0], errors
    assert not (tmp_path / "out").exists()
