"""Masks that training draws: what each task gives, hides and leaves."""

import itertools

import numpy as np
import pytest

from lumiere_video.lumiere_core.training.masks import (
    TASKS,
    Box,
    change_mask,
    draw_change_mask,
    given_frames,
    object_boxes,
    paint_box,
    random_box,
    swept_box,
)
from lumiere_video.lumiere_core.training.source import Place
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.render import render_scenes
from lumiere_video.world.scene import Scene, SceneSampler
from lumiere_video.world.source import places_of

SIZES = [(32, 32), (24, 40), (40, 24)]


@pytest.fixture(scope="module")
def shapes():
    return drawn_shapes()


def drawn_masks(shapes, task, size, count=20):
    """(scene, its times, mask) of random scenes."""
    rng, sample, times = np.random.default_rng(0), SceneSampler(shapes, "train", 0.3), np.arange(16) / 16 * 5
    for _ in range(count):
        scene = sample(rng)
        yield scene, times, change_mask(task, places_of(scene, times), (len(times), *size), rng)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_training_masks_fit_their_task(shapes, task, size):
    for _, _, mask in drawn_masks(shapes, task, size):
        assert mask.shape == (16, *size) and set(np.unique(mask)) <= {0.0, 1.0}
        whole = {0.0: 0, 1.0: 0} | dict(zip(*np.unique(mask.mean((1, 2)), return_counts=True), strict=True))
        if task in ("text", "first_frame", "first_last", "keyframes", "extend"):
            assert whole[0.0] + whole[1.0] == 16
            low, high = {"text": (0, 0), "first_frame": (1, 1), "first_last": (2, 2), "keyframes": (2, 5)}.get(
                task, (1, 9)
            )
            assert low <= whole[0.0] <= high
            assert task not in ("first_frame", "extend") or not mask[0].any()
        elif task == "region":
            assert not mask[0].any() and (mask[1:] == mask[1]).all()
        else:
            assert 0 < mask.mean() < 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", ["track", "box", "region"])
def test_training_masks_hide_what_they_are_about(shapes, task, size):
    """Of a lone object that a mask follows no pixel is left, and what a region leaves out rests; some boxes miss it."""
    hidden, left = [], []
    for scene, times, mask in drawn_masks(shapes, task, size, 36):
        if len(scene.actors) == 1:
            clip = render_scenes(shapes, [scene], [times], *size)[0].numpy()
            empty = render_scenes(shapes, [Scene((), scene.background, scene.knobs)], [times], *size)[0].numpy()
            shows, changes = (np.abs(clip - other).max(0) > 0.1 for other in (empty, clip[:, :1]))
            hidden.append((shows & (mask == 1)).any())
            left.append(((changes if task == "region" else shows) & (mask == 0)).any())
    assert len(left) > 20 and np.mean(hidden) > 0.8
    assert np.mean(left) < (0.5 if task == "box" else 1e-9)


def test_an_unknown_task_is_named(shapes):
    scene, times, _ = next(drawn_masks(shapes, "text", (8, 8)))
    with pytest.raises(ValueError, match="task must be one of text, first_frame.*; got 'dream'"):
        change_mask("dream", places_of(scene, times), (16, 8, 8), np.random.default_rng(0))


@pytest.mark.parametrize("task", TASKS)
def test_masks_need_not_know_what_is_where(task):
    """Clips of a folder of videos come without places: boxes lie anywhere then."""
    rng = np.random.default_rng(0)
    masks = np.stack([change_mask(task, (), (16, 12, 20), rng) for _ in range(40)])
    assert masks.shape == (40, 16, 12, 20) and set(np.unique(masks)) <= {0.0, 1.0} and masks.any()
    if task in ("box", "track", "region", "outpaint"):
        assert 0.05 < masks[:, 1:].mean() < 0.95 and len({mask.tobytes() for mask in masks}) > 30


# Their parts, in closed form


class Chosen:
    """A generator of which every draw from a range is its `share`-th part."""

    def __init__(self, share):
        self.share = share

    def uniform(self, low, high):
        return low + self.share * (high - low)


def drifting(moves=True) -> Place:
    """Of half side 0.1, from (0.2, 0.5) to (0.6, 0.4) in three frames."""
    return Place(np.array([0.2, 0.4, 0.6]), np.array([0.5, 0.45, 0.4]), np.full(3, 0.1), moves)


@pytest.mark.parametrize("size", [(10, 10), (10, 20), (20, 10)])
def test_a_box_is_painted_in_the_centred_square(size):
    """In fractions of its side: 0.2 to 0.5 are the third to the fifth pixel of ten."""
    expected = np.zeros(size, np.float32)
    top, left = ((side - 10) // 2 for side in size)
    expected[top + 6 : top + 9, left + 2 : left + 5] = 1
    np.testing.assert_array_equal(paint_box(Box(0.2, 0.6, 0.5, 0.9), size), expected)


def test_a_box_holds_the_pixels_whose_centres_it_holds():
    for edge, painted in ((0.649, 6), (0.651, 7)):
        assert paint_box(Box(0.0, 0.0, edge, 1.0), (10, 10)).sum(1).tolist() == [painted] * 10


@pytest.mark.parametrize(("share", "reach"), [(0.0, 0.1 * 1.0 + 0.02), (1.0, 0.1 * 1.3 + 0.1)])
def test_a_box_goes_with_its_object_at_a_margin(share, reach):
    left, top, right, bottom = object_boxes(drifting(), Chosen(share))
    np.testing.assert_allclose((left + right) / 2, [0.2, 0.4, 0.6])
    np.testing.assert_allclose((top + bottom) / 2, [0.5, 0.45, 0.4])
    for side in (right - left, bottom - top):
        np.testing.assert_allclose(side, 2 * reach)


def test_a_swept_box_just_holds_its_objects_in_all_frames():
    still = Place(np.full(3, 0.9), np.full(3, 0.8), np.full(3, 0.05), False)
    boxes = [swept_box(places, Chosen(0.0)) for places in ([drifting()], [drifting(), still])]
    np.testing.assert_allclose(boxes[0], (0.2 - 0.12, 0.4 - 0.12, 0.6 + 0.12, 0.5 + 0.12))
    np.testing.assert_allclose(boxes[1], (0.2 - 0.12, 0.4 - 0.12, 0.9 + 0.07, 0.8 + 0.07))


def test_random_boxes_are_of_every_size_and_place_inside_the_square():
    rng = np.random.default_rng(0)
    left, top, right, bottom = np.array([random_box(rng) for _ in range(400)]).T
    for start, stop in ((left, right), (top, bottom)):
        length = stop - start
        assert start.min() >= 0 and stop.max() <= 1 and start.min() < 0.02 and stop.max() > 0.98
        assert 0.3 <= length.min() < 0.32 and 0.78 < length.max() <= 0.8
    assert np.abs(left - top).mean() > 0.05  # not the same draw twice


def test_the_frames_that_a_task_gives():
    rng = np.random.default_rng(0)
    assert given_frames("text", 9, rng) == []
    assert given_frames("first_frame", 9, rng) == [0]
    assert given_frames("first_last", 9, rng) == [0, 8]
    drawn = [given_frames("keyframes", 9, rng) for _ in range(200)]
    assert {len(frames) for frames in drawn} == {2, 3, 4, 5}
    assert all(len(set(frames)) == len(frames) for frames in drawn)
    assert set(itertools.chain(*drawn)) == set(range(9))
    assert {len(given_frames("keyframes", 3, rng)) for _ in range(50)} == {2, 3}  # no more than there are


def test_a_clip_is_extended_from_its_first_frames():
    """From 5 % to 60 % of them, and always from one."""
    assert given_frames("extend", 100, Chosen(0.0)) == list(range(5))
    assert given_frames("extend", 100, Chosen(1.0)) == list(range(60))
    assert given_frames("extend", 10, Chosen(0.0)) == [0]


def test_tasks_are_drawn_as_often_as_their_weights_say():
    """Told apart by how many of five frames they give."""
    rng = np.random.default_rng(0)
    tasks = {"text": 1.0, "first_frame": 2.0, "first_last": 5.0}
    masks = [draw_change_mask(tasks, (), (5, 2, 2), rng) for _ in range(800)]
    assert all(mask.shape == (5, 2, 2) and mask.dtype == np.float32 for mask in masks)
    given = np.array([5 - mask.mean((1, 2)).sum() for mask in masks])
    assert [np.mean(given == count) for count in range(3)] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.05)


def test_a_region_is_of_what_moves():
    """A box that sweeps the moving thing, in all frames but the first; the one at rest is left out of it."""
    rest = Place(np.full(3, 0.9), np.full(3, 0.9), np.full(3, 0.02), False)
    for places in ([rest, drifting()], [drifting(), rest]):
        mask = change_mask("region", places, (3, 100, 100), np.random.default_rng(0))
        rows, columns = (np.flatnonzero(mask[1].any(axis)) for axis in (1, 0))
        assert not mask[0].any() and (mask[1] == mask[2]).all()
        assert columns.min() < 10 and 70 < columns.max() < 85 and rows.min() < 30 and 60 < rows.max() < 75


def test_boxes_are_about_a_thing_more_often_than_not():
    """0.6 of them sweep one of the things, each as often as the other; the rest are anywhere."""
    corners = [Place(np.full(2, at), np.full(2, at), np.full(2, 0.01), True) for at in (0.0, 1.0)]
    rng = np.random.default_rng(0)
    masks = [change_mask("box", corners, (2, 40, 40), rng) for _ in range(400)]
    small = np.array([0.0 < mask.mean() < 0.3**2 - 0.05 for mask in masks])  # what is anywhere is larger
    first = np.array([mask[0, 0, 0] == 1 for mask in masks])
    assert small.mean() == pytest.approx(0.6, abs=0.07)
    assert first[small].mean() == pytest.approx(0.5, abs=0.1)


def test_a_track_goes_with_its_thing():
    masks = change_mask("track", [drifting()], (3, 100, 100), np.random.default_rng(0))
    for mask, (x, y) in zip(masks, ((20, 50), (40, 45), (60, 40)), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(x, abs=1)
        assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(y, abs=1)


def test_a_track_without_things_rests():
    mask = change_mask("track", (), (3, 20, 20), np.random.default_rng(0))
    assert mask.any() and (mask == mask[0]).all()


def test_outpainting_gives_a_box_and_hides_the_rest():
    mask = change_mask("outpaint", (), (3, 40, 40), np.random.default_rng(0))
    given = mask[0] == 0
    rows, columns = (np.flatnonzero(given.any(axis)) for axis in (1, 0))
    assert (mask == mask[0]).all() and mask[0, 0, 0] == 1 and given.sum() == len(rows) * len(columns)
