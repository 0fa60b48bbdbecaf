"""Many clips: a table of prompts, workers that load their networks once, and a folder that says what is done."""
