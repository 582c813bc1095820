"""Grids of experiments as resumable jobs, and which records are still those of today's code."""
