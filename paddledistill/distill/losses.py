"""The losses of TinyBERT (arXiv 1909.10351), of MiniLM (2002.10957), of the distilled BiLSTM (1903.12136) and of Hinton et al.
(1503.02531).

Each returns a scalar tensor: the mean over what exists. Positions of padding take no part. Half-precision input is computed in
float32: the squares of attention scores would not fit into float16.
"""

import paddle
import paddle.nn.functional as F


def hidden_mse(student: paddle.Tensor, teacher: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """Mean squared error of hidden states over real tokens (TinyBERT, equations 8 and 9).

    :param student: [batch, length, width].
    :param teacher: the same shape; no gradient flows into it.
    :param mask: [batch, length], 1 where there is a token.
    """
    student, teacher = _float32(student), _float32(teacher)
    weights = mask.astype(student.dtype)
    squared = (student - teacher.detach()).square().mean(-1)
    return (squared * weights).sum() / weights.sum()


def attention_mse(student: paddle.Tensor, teacher: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """Mean squared error of pre-softmax attention scores over pairs of real tokens (TinyBERT, equation 7).

    :param student: [batch, heads, length, length].
    :param teacher: the same shape; no gradient flows into it.
    :param mask: [batch, length], 1 where there is a token.
    """
    student, teacher = _float32(student), _float32(teacher)
    tokens = mask.astype(student.dtype)
    pairs = (tokens.unsqueeze(1) * tokens.unsqueeze(2)).unsqueeze(1)
    squared = (student - teacher.detach()).square()
    return (squared * pairs).sum() / (pairs.sum() * student.shape[1])


def value_relation_kl(student: paddle.Tensor, teacher: paddle.Tensor, mask: paddle.Tensor, heads: int) -> paddle.Tensor:
    """Kullback-Leibler divergence of value relations, softmax(V V^T / sqrt(d)), from the teacher's, over real tokens (MiniLM, arXiv
    2002.10957, equation 8). Both sides are cut into the same number of relation heads (MiniLMv2, 2012.15828), so widths and attention
    heads may differ.

    :param student: values of a layer, heads side by side, [batch, length, width of the student].
    :param teacher: [batch, length, width of the teacher]; no gradient flows into it.
    :param mask: [batch, length], 1 where there is a token. :param heads: divides both widths.
    """
    tokens = mask.astype("float32")
    logs = [_relation_logs(_float32(values), tokens, heads) for values in (student, teacher.detach())]
    pairs = tokens.unsqueeze(1).unsqueeze(2)
    divergence = (logs[1].exp() * (logs[1] - logs[0]) * pairs).sum(-1)
    return (divergence * tokens.unsqueeze(1)).sum() / (tokens.sum() * heads)


def _relation_logs(values: paddle.Tensor, tokens: paddle.Tensor, heads: int) -> paddle.Tensor:
    batch, length, width = values.shape
    split = values.reshape([batch, length, heads, width // heads]).transpose([0, 2, 1, 3])
    with paddle.amp.auto_cast(enable=False):  # which would compute the product in half precision again
        scores = paddle.matmul(split, split, transpose_y=True) * (width // heads) ** -0.5
    return F.log_softmax(scores - 1e9 * (1 - tokens).unsqueeze(1).unsqueeze(2), axis=-1)


def soft_cross_entropy(student: paddle.Tensor, teacher: paddle.Tensor, temperature: float = 1.0) -> paddle.Tensor:
    """Cross-entropy between softened answers, times T squared (TinyBERT, equation 10; Hinton et al., section 2).

    The factor keeps the size of the gradient when the temperature changes.

    :param student: logits, [batch, labels].
    :param teacher: logits of the same shape; no gradient flows into it.
    """
    student, teacher = _float32(student), _float32(teacher)
    target = F.softmax(teacher.detach() / temperature, axis=-1)
    return -(target * F.log_softmax(student / temperature, axis=-1)).sum(-1).mean() * temperature**2


def logits_mse(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    """Mean squared error of logits (1903.12136, section 3.2); also the loss of a score."""
    return F.mse_loss(_float32(student), _float32(teacher).detach())


def supervised(logits: paddle.Tensor, labels: paddle.Tensor, smoothing: float = 0.0) -> paddle.Tensor:
    """Cross-entropy for classes (integer labels), mean squared error for a score (float labels).

    With ``smoothing`` that share of the target is spread evenly over all classes (Szegedy et al., 1512.00567, section 7).

    :param logits: [batch, labels] or [batch, 1].
    :param labels: [batch].
    """
    logits = _float32(logits)
    if paddle.is_floating_point(labels):
        return F.mse_loss(logits.squeeze(-1), labels)
    loss = F.cross_entropy(logits, labels)
    return loss if not smoothing else (1 - smoothing) * loss - smoothing * F.log_softmax(logits, axis=-1).mean()


def _float32(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor if tensor.dtype == paddle.float32 else tensor.astype(paddle.float32)
