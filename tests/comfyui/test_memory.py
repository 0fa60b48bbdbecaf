"""Memory over many prompts, in a server that caches nothing between them."""

import re
from pathlib import Path

import pytest
from comfyui_graphs import LumiereGraph

pytestmark = pytest.mark.comfyui

PROMPTS, WARM = 20, 3
GROWTH = 1.05


@pytest.mark.parametrize("server", [("--cache-none",)], indirect=True, ids=["cache-none"])
def test_twenty_prompts_in_a_row_do_not_grow_resident_memory(server, capsys):
    if not Path("/proc/self/status").is_file():
        pytest.skip("resident memory is read from /proc")
    sizes = []
    for seed in range(PROMPTS):
        graph = LumiereGraph()
        small = graph.stunet(seed=seed, frames=8, steps=2)
        graph.save(graph.super_resolution(small[0], seed=seed)[0], "memory")
        server.client.succeed(graph.prompt)
        sizes.append(resident_bytes(server.process.pid))
    warm, last = sizes[WARM - 1], sizes[-1]
    with capsys.disabled():
        print(f"\nresident after prompt {WARM}: {warm / 2**20:.1f} MiB; after {PROMPTS}: {last / 2**20:.1f} MiB")
    assert last <= GROWTH * warm, [f"{size / 2**20:.1f} MiB" for size in sizes]


def resident_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024
