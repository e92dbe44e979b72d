"""What was gained and lost: measure, compare, and show it as a table, as data and as a page.

``latency`` and ``compare`` measure; ``table`` turns the rows into text; ``document`` gathers all that a report says and writes
``report.json`` and ``report.html``; ``html`` and ``plots`` draw the page. ``table`` needs nothing but Python.
"""
