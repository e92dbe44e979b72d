"""What processes tell each other: two real ones, over gloo. With one everything is a no-op."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddledistill import launch, parallel

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, sys
import numpy as np
from paddledistill import cli, flags, launch, parallel

def main(args):
    import paddle
    from paddle import nn
    from paddledistill.training import gradients

    gradients._LARGE = 50
    rank, found = launch.rank(), {}
    found["total"] = parallel.total(np.full((2, 3), rank + 0.5)).tolist()
    found["agreed"] = parallel.agreed(lambda: {"from": rank, "text": "é" * 300})
    found["mine"] = list(parallel.mine(range(5)))
    parallel.barrier()

    paddle.seed(rank)  # other weights in each process, which is what must not last
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.large, self.small = nn.Embedding(100, 4), nn.Embedding(8, 4)
            self.linear, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)
        def forward(self, ids):
            return self.linear(self.large(ids) + self.small(ids % 8))
    net = Net()
    sums = gradients.Gradients(net)
    rows = paddle.to_tensor([[1, 2, 99], [2, 50, 3]])  # what a single process would take at once
    for _ in range(2):
        (net(rows[rank]).square().sum() / 6).backward()
        sums.add_up()
        own = {name: weight.grad.numpy() for name, weight in net.named_parameters() if weight.grad is not None}
        net.clear_gradients()
        net.eval()
        net(rows).square().sum().divide(paddle.to_tensor(6.0)).backward()
        whole = {name: weight.grad.numpy() for name, weight in net.named_parameters() if weight.grad is not None}
        net.clear_gradients()
        net.train()
        assert sorted(own) == sorted(whole) and "unused.weight" not in own
        for name in whole:
            np.testing.assert_allclose(own[name], whole[name], rtol=1e-5, atol=1e-7, err_msg=name)
    found["rows"] = np.flatnonzero(np.abs(own["large.weight"]).sum(1)).tolist()
    print(json.dumps(found), flush=True)
    open(f"found-{rank}.json", "w").write(json.dumps(found))

parser = cli.Parser("a test")
flags.add_device_flags(parser)
cli.run(main, parser)
"""


def test_two_processes_sum_agree_and_share(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "--n_cpu", "2"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "Paddle's chatter is kept back"
    found = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2)]
    assert json.loads(done.stdout) == found[0]
    assert [one["mine"] for one in found] == [[0, 2, 4], [1, 3]]
    for one in found:
        assert one["total"] == [[2.0] * 3] * 2
        assert one["agreed"] == {"from": 0, "text": "é" * 300}
        assert one["rows"] == [1, 2, 3, 50, 99]


def test_one_process_is_on_its_own() -> None:
    array = np.array([1.0, 2.0])
    assert launch.world() == 1 and parallel.is_main()
    assert parallel.total(array) is array
    assert parallel.agreed(lambda: 3) == 3
    assert list(parallel.mine([4, 5])) == [4, 5]
    parallel.barrier()


@pytest.mark.parametrize(
    ("variables", "here"),
    [
        ({}, 1),
        ({"PADDLE_LOCAL_SIZE": "4"}, 4),
        (
            {
                "PADDLE_CURRENT_ENDPOINT": "10.0.0.1:1",
                "PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:1,10.0.0.1:2,10.0.0.2:1",
            },
            2,
        ),
    ],
)
def test_processes_of_this_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], here: int
) -> None:
    """As either form of ``paddle.distributed.launch`` tells."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.processes_here() == here
