"""Measuring generated clips: prompts to make them for, a judge of what they show, a file per task, and reports."""
