"""Figures as files, as markdown, as pictures, and as the record that a checkpoint carries."""
