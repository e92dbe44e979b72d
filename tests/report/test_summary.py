"""What a table comes to, in words."""

from paddledistill.report.summary import summary


def student(make_row, task, role, value, std, **fields):
    return make_row(value, task=task, role=role, system="BiLSTM", std=std, **fields)


def test_where_distillation_helped_and_where_not(make_row):
    rows = [
        make_row(90.0, task="rte"),
        student(make_row, "rte", "alone", 70.0, 2.0),
        student(make_row, "rte", "distilled", 71.9, 0.1, retention=80.0),  # within the spread of the other
        student(make_row, "mrpc", "alone", 70.0, 0.5),
        student(make_row, "mrpc", "distilled", 71.0, 0.9, retention=90.0),
        student(make_row, "cola", "alone", 10.0, 1.0, metric="matthews"),
        student(make_row, "cola", "distilled", 9.0, 1.0, metric="matthews", retention=25.0),
        student(make_row, "sst-2", "alone", 80.0, None),
        student(make_row, "sst-2", "distilled", 85.0, None, retention=94.0),
    ]
    assert summary(rows) == (
        "BiLSTM: distilled is above alone by more than one standard deviation on mrpc; it is not on rte (71.9 ± 0.1 against 70.0 ± 2.0) "
        "and cola (9.0 ± 1.0 against 10.0 ± 1.0); one seed does not tell on sst-2 (85.0 against 80.0). "
        "It keeps 88.0 % of the teacher on average over rte, mrpc and sst-2 (and 25.0 % on cola)."
    )


def test_one_task_has_no_mean(make_row):
    rows = [
        student(make_row, "rte", "alone", 70.0, 2.0),
        student(make_row, "rte", "distilled", 70.0, 2.0, retention=80.0),
    ]
    assert summary(rows) == (
        "BiLSTM: distilled is above alone by more than one standard deviation on no task; it is not on rte (70.0 ± 2.0 against 70.0 ± 2.0)."
    )


def test_nothing_to_say(make_row):
    alone = student(make_row, "rte", "alone", 70.0, 2.0)
    assert summary([make_row(90.0, task="rte"), alone]) == ""
    distilled = student(make_row, "rte", "distilled", 70.0, 2.0)
    assert summary([alone, distilled, student(make_row, "rte", "alone", 70.0, 2.0, metric="f1")]) == ""
