"""The judge and its eyes: what the pixels of a clip show, by classical vision, and how steady and sharp they are."""

from .judgement import Judgement, judge_clip

__all__ = ["Judgement", "judge_clip"]
