"""Weights in parentheses, as ComfyUI reads them; case and blanks, which say nothing."""

import pytest

from lumiere_video.lumiere_core.conditioning.prompts import weighted_parts

PARTS = {
    "a red circle": [("a red circle", 1)],
    "": [("", 1)],
    "  A   Red\tCIRCLE \n": [("a red circle", 1)],
    "a (red:1.4) circle": [("a ", 1), ("red", 1.4), (" circle", 1)],
    "(red: 0.5 )": [("red", 0.5)],
    "(red:0)": [("red", 0)],
    "(red:-1)": [("red", -1)],
    "(red)": [("red", 1.1)],
    "((red))": [("red", 1.21)],
    "((big red:2) circle)": [("big red", 2), (" circle", 1.1)],
    "((red) circle:1.5)": [("red", 1.65), (" circle", 1.5)],
    r"a \(red:2\) circle": [("a (red:2) circle", 1)],
    "at 12:30 (sharp:ly)": [("at 12:30 ", 1), ("sharp:ly", 1.1)],
    "(red:nan)": [("red:nan", 1.1)],
    "(:1.4)": [(":1.4", 1.1)],
    "a (red circle": [("a (red circle", 1)],
    "a red) circle": [("a red) circle", 1)],
    "()": [("", 1)],
}


@pytest.mark.parametrize("prompt", PARTS)
def test_parts_and_their_weights(prompt):
    parts = weighted_parts(prompt)
    assert [part.text for part in parts] == [text for text, _ in PARTS[prompt]]
    assert [part.weight for part in parts] == pytest.approx([weight for _, weight in PARTS[prompt]])


def test_parentheses_without_end_are_text_in_the_end():
    (part,) = weighted_parts("(" * 5000 + "red" + ")" * 5000)
    assert part.text.count("(") == 5000 - 16 and part.weight == pytest.approx(1.1**16)
