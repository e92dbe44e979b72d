"""The one training loop, its run directory, schedules, evaluation and metrics."""
