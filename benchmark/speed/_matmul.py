"""Best rate of float32 matrix products of one library, in GFLOP/s: what the floors are computed from. Prints a number."""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZES = ((2048, 384, 1536), (2048, 1536, 384), (2048, 2048, 2048))


def product(library: str, m: int, k: int, n: int) -> Callable[[], object]:
    a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
    if library == "numpy":
        return lambda: a @ b
    if library == "torch":
        import torch

        c, d = torch.from_numpy(a), torch.from_numpy(b)
        return lambda: c @ d
    if library == "onnxruntime":
        return onnx_product(a, b)
    from paddledistill import runtime

    runtime.load_paddle()
    import paddle

    x, y = paddle.to_tensor(a), paddle.to_tensor(b)
    return lambda: paddle.matmul(x, y)


def onnx_product(a: NDArray[np.float32], b: NDArray[np.float32]) -> Callable[[], object]:
    """``b`` as a constant, as weights are: the engine may then lay it out as it likes."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, (len(a), b.shape[1]))],
        [numpy_helper.from_array(b, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": a})


def rate(library: str) -> float:
    best = 0.0
    for m, k, n in SIZES:
        multiply = product(library, m, k, n)
        for _ in range(25):
            start = time.perf_counter()
            multiply()
            best = max(best, 2 * m * k * n / (time.perf_counter() - start) / 1e9)
    return best


if __name__ == "__main__":
    print(rate(sys.argv[1]))
