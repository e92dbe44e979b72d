"""Gradients of several processes, added up.

Each process weighs its loss by its share of the rows, also where a batch does not divide evenly. Of a loss that is a mean over rows the
sum is the gradient of the whole batch. One that is a mean over tokens (hidden states, attention, masked words) divides by the tokens of
each portion: the sum is that of a mean of such means, and depends a little on how the rows were shared out.
"""

import numpy as np
import paddle
from paddle import nn

from paddledistill import launch, parallel

_LARGE = 4096  # rows of an embedding from which on it pays to pick out those that were read


class Gradients:
    """Sums the gradients of a model over all processes.

    Of an embedding only the rows that some process has read are exchanged: a batch reads a few hundred of 30,000.
    """

    def __init__(self, model: nn.Layer) -> None:
        """All processes start from the weights of the main one."""
        self._weights = [weight for weight in model.parameters() if not weight.stop_gradient]
        self._read: dict[str, list[paddle.Tensor]] = {}
        if launch.world() == 1:
            return
        for tensor in model.state_dict().values():
            paddle.distributed.broadcast(tensor, 0)
        owners = [weight.name for layer in model.sublayers() for weight in layer.parameters(include_sublayers=False)]
        for layer in model.sublayers():
            if not isinstance(layer, nn.Embedding) or layer.weight.stop_gradient or layer.weight.shape[0] < _LARGE:
                continue
            if owners.count(layer.weight.name) == 1:  # a decoder may share it
                layer.register_forward_pre_hook(self._note)
                self._read[layer.weight.name] = []

    def _note(self, layer: nn.Embedding, inputs: tuple[paddle.Tensor, ...]) -> None:
        if layer.training:
            self._read[layer.weight.name].append(inputs[0])

    def add_up(self) -> None:
        """To be called between the last ``backward`` and the optimizer's step.

        A weight that the loss does not reach has no gradient in any process, and is passed over in all.
        """
        if launch.world() == 1:
            return
        from paddle.distributed.fleet.utils.hybrid_parallel_util import fused_allreduce_gradients_with_group

        reached = [weight for weight in self._weights if weight.grad is not None]
        # All but the large ones as one tensor: a message of its own for each costs a millisecond and more.
        fused_allreduce_gradients_with_group(
            [weight for weight in reached if weight.name not in self._read], None, scale=1.0
        )
        with paddle.no_grad():
            for weight in reached:
                if weight.name in self._read:
                    self._add_up_rows(weight.grad, self._read[weight.name])

    def _add_up_rows(self, gradient: paddle.Tensor, read: list[paddle.Tensor]) -> None:
        touched = np.zeros(gradient.shape[0], np.int32)
        for ids in read:
            touched[ids.numpy().ravel()] = 1
        read.clear()
        rows = paddle.to_tensor(np.flatnonzero(parallel.total(touched)))
        sums = paddle.gather(gradient, rows)
        paddle.distributed.all_reduce(sums)
        gradient.scatter_(rows, sums)
