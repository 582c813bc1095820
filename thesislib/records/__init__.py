"""Records: what a run was, what it measured, and what the thesis reports."""
