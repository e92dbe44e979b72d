"""What was gained and lost: measure, compare, and show it as a table, as data and as a page.

``latency`` and ``compare`` measure; ``rows`` joins the figures of several seeds, ``published`` has those of others, ``summary`` and
``table`` turn them into text, ``study`` makes them task by task. ``analysis`` and ``conclusion`` are what a single run says at its end,
``seeds`` what several have in common. ``document`` gathers all that a comparison says; ``html`` and ``plots`` draw pages.
"""
