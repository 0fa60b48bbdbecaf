"""Warnings reach whoever listens, every time; else they are Python's."""

import threading
import warnings

import pytest

from lumiere_video.lumiere_core.runtime.notices import heard_by, is_heard, warn


def test_a_listener_hears_the_same_text_every_time_and_nobody_else_does():
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with heard_by(said.append):
            for _ in range(2):
                warn("the mask is empty")
    assert said == ["the mask is empty"] * 2 and not is_heard()


def test_without_a_listener_it_is_pythons_warning_of_the_line_that_warns():
    def find():
        warn("the mask is empty")

    with pytest.warns(UserWarning, match="the mask is empty") as caught:
        find()
    assert caught[0].filename == __file__


def test_other_threads_have_listeners_of_their_own():
    with heard_by(lambda text: None):
        heard = []
        thread = threading.Thread(target=lambda: heard.append(is_heard()))
        thread.start()
        thread.join()
    assert heard == [False]
