"""Tables in text and reStructuredText."""

from paddledistill.report import table
from paddledistill.report.rows import aggregate


def test_text_table_is_aligned(seeds):
    lines = table.text_table(aggregate(seeds)).splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "System",
        "-" * len("constant answer"),
        "constant",
        "teacher",
        "BiLSTM",
    ]
    column = lines[0].index("test accuracy")
    assert lines[2][column:].startswith("50.9")
    assert lines[3][column:].startswith("87.0 ± 1.0")
    assert lines[4][column:].startswith("85.2 ± 1.3")
    assert "over 3 seeds" in lines[-1] and "at batch 1 / at batch 32, of 32 tokens each" in lines[-1]
    assert "16.0x / 1.0x" in lines[4]
    assert "100.0" not in lines[3]  # what the teacher keeps of itself is not said


def test_one_seed_is_said(seeds):
    text = table.text_table(aggregate(seeds[:1]))
    assert "one seed" in text
    assert "±" not in text


def test_a_column_for_every_split_and_metric_and_none_without_figures(make_row):
    rows = [make_row(split="dev", minutes=None), make_row(minutes=None), make_row(70.0, metric="f1", minutes=None)]
    header, body = table.cells(rows)
    assert header[:5] == ["System", "Role", "dev accuracy", "test accuracy", "test f1"]
    assert "Minutes" not in header
    assert body[1][2:5] == ["80.0", "80.0", "70.0"]


def test_several_tasks_have_a_line_for_each_metric(make_row):
    published = make_row(
        61.5, task="rte", system="BERT", role="published", baseline=None, retention=None, parameters=None, megabytes=None,
        latency_ms=None, latency_ms_batch_32=None, speed_up=None, speed_up_batch_32=None, minutes=None,
    )  # fmt: skip
    rows = [make_row(), make_row(60.0, task="rte", setting="5e-5, 3 epochs", values=[59.0, 61.0], std=1.4), published]
    header, body = table.cells(rows)
    assert header[:7] == ["Task", "Metric", "System", "Role", "Score", "Gain", "Setting"]
    assert [row[:7] for row in body] == [
        ["sst-2", "test accuracy", "constant answer", table.NOTHING, "50.9", table.NOTHING, table.NOTHING],
        ["sst-2", "test accuracy", "teacher", "teacher", "80.0", "+29.1", table.NOTHING],
        ["rte", "test accuracy", "constant answer", table.NOTHING, "50.9", table.NOTHING, table.NOTHING],
        ["rte", "test accuracy", "teacher", "teacher", "60.0 ± 1.4", "+9.1", "5e-5, 3 epochs"],
        ["rte", "test accuracy", "BERT", "published", "61.5", table.NOTHING, table.NOTHING],
    ]
    assert "1 to 2 seeds. Published: figures of others, not run here. Gain: above a constant answer." in table.caption(
        rows
    )


def test_rst_table_keeps_every_cell_below_its_rule(seeds):
    rows = aggregate(seeds)
    lines = table.rst_table(rows).splitlines()
    rules = [line for line in lines if line.startswith("=")]
    assert len(set(rules)) == 1 and len(rules) == 3
    starts = [
        position
        for position in range(len(rules[0]))
        if rules[0][position] == "=" and rules[0][: position + 1][-2:-1] in ("", " ")
    ]
    for line in lines[1:2] + lines[3:-3]:
        assert all(
            line[start - 1 : start] in ("", " ") and line[start : start + 1] not in ("", " ") for start in starts
        ), line


def test_what_the_rows_come_to_stands_below_them(make_row):
    rows = [
        make_row(90.0),
        make_row(70.0, role="alone", system="BiLSTM"),
        make_row(75.0, role="distilled", system="BiLSTM"),
    ]
    for text in (table.text_table(rows), table.rst_table(rows)):
        *_, said, empty, caption = text.splitlines()
        assert said.startswith("BiLSTM: distilled is above alone")
        assert (empty, caption) == ("", table.caption(rows))


def test_rst_markup_in_a_name_is_escaped(make_row):
    assert r"a\*b\_ \`c\`" in table.rst_table([make_row(system="a*b_ `c`")])


def test_numbers():
    assert [table.decimal(value) for value in (None, 0.0, 0.62, 0.996, 12.34)] == [
        table.NOTHING,
        "0.0",
        "0.62",
        "1.0",
        "12.3",
    ]
    assert [table.count(value) for value in (None, 512, 870_000, 22_713_216, 109_483_778)] == [
        table.NOTHING,
        "512",
        "870 k",
        "22.7 M",
        "109 M",
    ]


def test_rows_of_speed_have_a_table_of_their_own():
    row = {
        "claim": "training-step", "ours": 34.567, "peer": 12.0, "peer_name": "the loop", "ratio": 2.88, "unit": "rows/s",
        "repeats": 3, "floor": 40.0, "of_floor": 0.864, "command": "c",
    }  # fmt: skip
    alone = row | {"claim": "memory", "ours": 2134.0, "peer": None, "peer_name": None, "ratio": None, "of_floor": None}
    lines = table.text_table([row, alone]).splitlines()
    assert lines[0].split() == ["Claim", "Ours", "Peer", "Unit", "Ratio", "Of", "the", "floor", "Against"]
    assert lines[2].split() == ["training-step", "34.6", "12", "rows/s", "2.88x", "86", "%", "the", "loop"]
    assert lines[3].split() == ["memory", "2134", "–", "rows/s", "–", "–", "–"]
    assert lines[-1] == table.SPEED_CAPTION
    assert "training-step  34.6" in table.rst_table([row, alone])
