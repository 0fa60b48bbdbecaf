"""The sticker world: casts are read or refused, scenes are drawn and captioned as they say, splits never mix."""

import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lumiere_video.world.backgrounds import (
    BACKGROUNDS,
    GRADIENTS,
    GROUP_WEIGHTS,
    GROUPS,
    PLAIN,
    SCENES,
    draw_background,
)
from lumiere_video.world.captions import (
    ADVERBS,
    LONGEST_CAPTION,
    MOTION_PHRASES,
    SCENE_PHRASES,
    Captioner,
    background_phrases,
    label_classes,
    noun_phrase,
)
from lumiere_video.world.cast import (
    COLORS,
    MARGIN,
    OUTLINES,
    PICTURE,
    STICKERS,
    Cast,
    Member,
    drawn_shapes,
    fill_polygon,
    load_cast,
    named_table,
    read_cutout,
)
from lumiere_video.world.motions import (
    CLIP_SECONDS,
    MOTIONS,
    PACES,
    TUMBLING,
    TURNING,
    Motion,
    draw_motion,
    has_pace,
)
from lumiere_video.world.render import CLIP_FRAMES, FPS, render_clip, render_scenes
from lumiere_video.world.scene import (
    MOVING_RADIUS,
    PAIR_HALVES,
    PAIR_RADIUS,
    RADIUS,
    Actor,
    Scene,
    SceneSampler,
    combinations,
    draw_background_name,
    is_held_out,
    make_scene,
    make_two,
)

WHOLE_CLIP = np.linspace(0, CLIP_SECONDS, 201)
NOWHERE = np.zeros(1)


@pytest.fixture(scope="module")
def shapes():
    return drawn_shapes()


def random(seed=0):
    return np.random.default_rng(seed)


# Casts

TABLE = "name,synonyms,file\nBall, sphere; orb ,ball.png\nbox,,box.webp\n"


def cutout(height=40, width=60, color=(200, 30, 30), around=(0, 0, 0)) -> Image.Image:
    """An ellipse on a transparent ground, off the picture's centre."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - 0.4 * width) / (0.3 * width)) ** 2 + ((y - 0.5 * height) / (0.3 * height)) ** 2 < 1
    colors = np.where(inside[..., None], np.uint8(color), np.uint8(around))
    return Image.fromarray(np.dstack([colors, np.uint8(255 * inside)]).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """A cast of two: ball.png and box.webp with their table, names.csv."""
    (tmp_path / "names.csv").write_text(TABLE, encoding="utf-8")
    cutout().save(tmp_path / "ball.png")
    cutout(30, 30, (20, 40, 220)).save(tmp_path / "box.webp", lossless=True)
    return tmp_path


def test_a_folder_and_its_table_are_a_cast(folder):
    cast = load_cast(folder)
    assert (cast.name, cast.names, len(cast)) == ("names", ("ball", "box"), 2)
    assert cast.members[0].words == ("ball", "sphere", "orb") and cast.members[1].synonyms == ()
    assert [cast.index(word) for word in ("ball", "orb", "box")] == [0, 0, 1]
    with pytest.raises(ValueError, match="cast 'names': no member is called 'bal'; near it are ball"):
        cast.index("bal")
    assert load_cast(folder, name="toys").name == "toys"


def test_a_table_from_a_spreadsheet_starts_with_a_mark(folder):
    (folder / "names.csv").write_text(TABLE, encoding="utf-8-sig")
    assert load_cast(folder).names == ("ball", "box")


def test_a_table_may_lie_elsewhere_and_a_folder_without_one_is_the_stickers(folder, tmp_path_factory):
    table = tmp_path_factory.mktemp("table") / "other.csv"
    (folder / "names.csv").rename(table)
    assert load_cast(folder, table).names == ("ball", "box")
    with pytest.raises(ValueError, match="names 100 files that are not in .*1f98a.webp") as caught:
        load_cast(folder)
    assert str(STICKERS) in str(caught.value)


def test_the_stickers_table_has_unique_ascii_words():
    rows = [line.split(",") for line in STICKERS.read_text(encoding="ascii").splitlines()[1:]]
    words = [word for name, synonyms, _ in rows for word in (name, *synonyms.split(";"))]
    assert len(rows) == 100 and len(set(words)) == len(words)


TABLE_FAULTS = {
    "columns": (
        "name,file\nball,ball.png\n",
        "table needs rows and the columns name, synonyms, file; it lacks .*synonyms",
    ),
    "rows": ("name,synonyms,file\n", "table needs rows .* it lacks rows"),
    "nothing": ("", "table needs rows and the columns"),
    "no name": ("name,synonyms,file\n,orb,ball.png\n", "line 2: a row needs a name and a file; got '' and 'ball.png'"),
    "no file": ("name,synonyms,file\nball\n", "line 2: a row needs a name and a file; got 'ball' and ''"),
    "a name twice": (TABLE + "BALL,,box.webp\n", "line 4: 'ball' is a name of line 2 already"),
    "a synonym twice": (TABLE + "orb,,box.webp\n", "line 4: 'orb' is a name of line 2 already"),
    "a synonym that is a name": (TABLE + "cone,Ball,box.webp\n", "line 4: 'ball' is a name of line 2 already"),
    "a long name": (TABLE + 41 * "x" + ",,box.webp\n", "line 4: a name must have at most 40 letters"),
    "missing files": (TABLE + "cone,,cone.png\n", "it names 1 files that are not in .*: cone.png"),
    "bytes": (b"\xff\xfe\x00", "not a table of names"),
}


def refused(what, message, *, names):
    """A ValueError of one line that says `message` and names the file."""
    with pytest.raises(ValueError, match=message) as caught:
        what()
    assert str(names) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("table", "message"), TABLE_FAULTS.values(), ids=TABLE_FAULTS)
def test_a_faulty_table_is_refused(folder, table, message):
    (folder / "names.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    refused(lambda: load_cast(folder), message, names=folder / "names.csv")


def test_a_missing_folder_a_missing_table_and_two_tables_are_refused(folder):
    refused(lambda: load_cast(folder / "none"), "no such folder", names=folder / "none")
    refused(lambda: load_cast(folder, folder / "none.csv"), "not a table of names", names=folder / "none.csv")
    (folder / "more.csv").write_text(TABLE)
    refused(lambda: load_cast(folder), "one table of names is expected; got more.csv, names.csv", names=folder)


PICTURE_FAULTS = {
    "no alpha": (lambda: cutout().convert("RGB"), "needs an alpha channel; this picture has none"),
    "opaque": (
        lambda: Image.new("RGBA", (9, 9), (1, 2, 3, 255)),
        "transparent around its object; this picture is opaque",
    ),
    "empty": (lambda: Image.new("RGBA", (9, 9), (1, 2, 3, 0)), "must show something; this picture is empty"),
    "faint": (lambda: Image.new("RGBA", (9, 9), (1, 2, 3, 60)), "must show something; this picture is empty"),
}


@pytest.mark.parametrize(("picture", "message"), PICTURE_FAULTS.values(), ids=PICTURE_FAULTS)
def test_a_picture_that_is_no_cutout_is_refused(folder, picture, message):
    picture().save(folder / "ball.png")
    refused(lambda: load_cast(folder), message, names=folder / "ball.png")


@pytest.mark.parametrize("keep", [0, 7, 30, 60, 90, -60])
def test_a_damaged_picture_is_refused(folder, keep):
    whole = (folder / "ball.png").read_bytes()
    (folder / "ball.png").write_bytes(whole[:keep])
    refused(lambda: load_cast(folder), "not a whole picture", names=folder / "ball.png")


@pytest.mark.parametrize("size", [(40, 60), (300, 90), (9, 9)])
def test_an_object_fills_its_square_and_stands_in_the_middle(folder, size):
    cutout(*size).save(folder / "ball.png")
    picture = read_cutout(folder / "ball.png")
    assert picture.shape == (PICTURE, PICTURE, 4) and picture.dtype == np.uint8
    assert (picture[..., :3] <= picture[..., 3:]).all()  # premultiplied
    spans = [np.flatnonzero((picture[..., 3] > 25).any(axis)) for axis in (0, 1)]
    longest = max(span[-1] - span[0] + 1 for span in spans)
    assert longest == pytest.approx(PICTURE * (1 - 2 * MARGIN), abs=2)
    for span in spans:
        assert span[0] + span[-1] == pytest.approx(PICTURE - 1, abs=2)


def test_drawn_shapes_fill_their_squares_and_say_whether_they_show_turns(shapes):
    assert shapes.name == "shapes" and len(shapes) == len(OUTLINES) * len(COLORS)
    for member in shapes.members:
        spans = [np.flatnonzero(member.picture[..., 3].any(axis)) for axis in (0, 1)]
        longest = max(span[-1] - span[0] + 1 for span in spans)
        assert longest == pytest.approx(PICTURE * (1 - 2 * MARGIN), abs=2)
        assert member.shows_turns == ("circle" not in member.name)


def test_smaller_pictures_are_area_averages(shapes):
    large = torch.from_numpy(shapes.members[7].picture).permute(2, 0, 1).float() / 255
    small = shapes.pictures(64)[7]
    torch.testing.assert_close(small, large.unflatten(2, (64, 4)).unflatten(1, (64, 4)).mean((2, 4)))


# Motions


def drawn_motions(kind, pace, count=60):
    """Motions as scenes draw them: of lone objects and of each of two."""
    rng = random(5)
    for _ in range(count):
        yield draw_motion(kind, pace, rng.uniform(*RADIUS.get(kind, MOVING_RADIUS)), rng), (0.0, 1.0)
        for half in PAIR_HALVES:
            yield draw_motion(kind, pace, rng.uniform(*PAIR_RADIUS), rng, half), half


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("kind", MOTIONS)
def test_objects_stay_in_sight_and_two_keep_to_their_halves(kind, pace):
    for motion, (left, right) in drawn_motions(kind, pace):
        track = motion.track(WHOLE_CLIP)
        assert all(part.shape == (201,) and part.dtype == np.float32 for part in track)
        assert track.x.min() > left + 0.07 and track.x.max() < right - 0.07
        assert track.y.min() > 0.1 and track.y.max() < 0.9
        seen = [
            (np.minimum(at + track.radius, 1) - np.maximum(at - track.radius, 0)) / (2 * track.radius)
            for at in (track.x, track.y)
        ]
        assert (seen[0] * seen[1]).min() > 0.7


@pytest.mark.parametrize("kind", [kind for kind in MOTIONS if MOTIONS[kind].repeats or kind == "staying still"])
def test_the_end_of_what_repeats_leads_into_its_beginning(kind):
    for pace in PACES:
        for motion, _ in drawn_motions(kind, pace, 20):
            first, last = (np.array(motion.track(np.array([t]))) for t in (0.0, CLIP_SECONDS))
            np.testing.assert_allclose(last[:3], first[:3], atol=1e-5)
            turn = (last[3] - first[3]) / (2 * np.pi)
            assert abs(turn - np.round(turn)) < 1e-5
            before = np.array(motion.track(np.array([CLIP_SECONDS - 0.01])))  # nor does it jump in between
            assert np.abs(before[:3] - first[:3]).max() < 0.03


def state(kind, at, **fields):
    """x, y, radius and angle of an object around (0.4, 0.5) at a part of the clip."""
    motion = Motion(kind, 0.4, 0.5, 0.2, **fields)
    return [float(part[0]) for part in motion.track(np.array([at * CLIP_SECONDS]))]


ONE = {"extent": 0.1, "cycles": 1}
CLOSED_FORMS = [
    ("moving left", {"extent": 0.1}, {0: (0.5, 0.5, 0.2, 0), 0.25: (0.45, 0.5, 0.2, 0), 1: (0.3, 0.5, 0.2, 0)}),
    ("moving right", {"extent": 0.1}, {0: (0.3, 0.5, 0.2, 0), 0.75: (0.45, 0.5, 0.2, 0), 1: (0.5, 0.5, 0.2, 0)}),
    ("moving up", {"extent": 0.1}, {0: (0.4, 0.6, 0.2, 0), 1: (0.4, 0.4, 0.2, 0)}),
    ("moving down", {"extent": 0.1}, {0: (0.4, 0.4, 0.2, 0), 1: (0.4, 0.6, 0.2, 0)}),
    ("bouncing", ONE, {0: (0.4, 0.6, 0.2, 0), 1 / 6: (0.4, 0.5, 0.2, 0), 0.5: (0.4, 0.4, 0.2, 0)}),
    ("jumping", ONE, {0.125: (0.4, 0.45, 0.2, 0.25), 0.25: (0.4, 0.4, 0.2, 0), 0.7: (0.4, 0.6, 0.2, 0)}),
    ("orbiting", ONE, {0: (0.5, 0.5, 0.2, 0), 0.25: (0.4, 0.6, 0.2, 0), 0.5: (0.3, 0.5, 0.2, 0)}),
    ("orbiting", ONE | {"turn": -1, "phase": 0.25}, {0: (0.4, 0.4, 0.2, 0), 0.25: (0.3, 0.5, 0.2, 0)}),
    ("growing", {"extent": np.log(4)}, {0: (0.4, 0.5, 0.05, 0), 0.5: (0.4, 0.5, 0.1, 0), 1: (0.4, 0.5, 0.2, 0)}),
    ("shrinking", {"extent": np.log(4)}, {0: (0.4, 0.5, 0.2, 0), 0.5: (0.4, 0.5, 0.1, 0), 1: (0.4, 0.5, 0.05, 0)}),
    ("spinning", {"cycles": 2}, {0.125: (0.4, 0.5, 0.2, np.pi / 2), 0.25: (0.4, 0.5, 0.2, np.pi)}),
    ("spinning", {"cycles": 2, "turn": -1}, {0.125: (0.4, 0.5, 0.2, -np.pi / 2)}),
    ("swinging", ONE, {0: (0.4, 0.5, 0.2, 0), 0.25: (0.5, 0.47, 0.2, -0.16), 0.75: (0.3, 0.47, 0.2, 0.16)}),
    ("shaking", ONE, {0: (0.4, 0.5, 0.2, 0), 0.25: (0.5, 0.5, 0.2, 0), 0.75: (0.3, 0.5, 0.2, 0)}),
    ("falling", {"extent": 0.1}, {0.25: (0.4, 0.4125, 0.2, np.pi / 4), 0.5: (0.4, 0.45, 0.2, 2.2214)}),
    ("staying still", {}, {0: (0.4, 0.5, 0.2, 0), 0.6: (0.4, 0.5, 0.2, 0)}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "expected"), CLOSED_FORMS)
def test_each_motion_in_closed_form(kind, fields, expected):
    for at, values in expected.items():
        assert state(kind, at, **fields) == pytest.approx(values, abs=1e-4), at


def test_every_motion_has_a_closed_form_above():
    assert {kind for kind, *_ in CLOSED_FORMS} == set(MOTIONS)


def test_slowly_is_slower_than_quickly():
    """Mean speed: the way of the centre and of the picture's edge as it turns."""

    def speed(kind, pace):
        ways = []
        for motion, _ in drawn_motions(kind, pace, 40):
            track = motion.track(WHOLE_CLIP)
            edge = [track.x, track.y, track.radius * np.cos(track.angle), track.radius * np.sin(track.angle)]
            ways.append(np.hypot.reduce(np.diff(edge, axis=1)).sum())
        return np.mean(ways)

    paced = [kind for kind in MOTIONS if has_pace(kind)]
    assert set(MOTIONS) - set(paced) == {"growing", "shrinking", "falling", "staying still"}
    for kind in paced:
        slow, normal, quick = (speed(kind, pace) for pace in ("slow", "normal", "quick"))
        assert slow < 0.8 * normal and normal < 0.9 * quick, kind


# Backgrounds

KNOBS = (0.3, 0.7, 0.15)


def test_groups_hold_every_background_once():
    assert sorted(itertools.chain(*GROUPS)) == sorted(BACKGROUNDS) and len(set(BACKGROUNDS)) == len(BACKGROUNDS)
    assert sum(GROUP_WEIGHTS) == pytest.approx(1)
    rng = random()
    drawn = [draw_background_name(rng) for _ in range(2000)]
    assert set(drawn) == set(BACKGROUNDS)
    for group, weight in zip(GROUPS, GROUP_WEIGHTS, strict=True):
        assert np.mean([name in group for name in drawn]) == pytest.approx(weight, abs=0.04)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_background_draws_and_a_window_is_that_part_of_it(name):
    whole = draw_background(name, KNOBS, 48, 72)
    assert whole.shape == (48, 72, 3) and whole.dtype == np.float32
    assert whole.min() >= 0 and whole.max() <= 1
    np.testing.assert_array_equal(draw_background(name, KNOBS, 48, 72, (8, 24, 16, 40)), whole[8:24, 24:64])
    assert (np.ptp(whole, axis=(0, 1)).max() > 0.05) == (name not in PLAIN)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_small_background_is_a_large_one_averaged_down(name):
    large = draw_background(name, KNOBS, 256, 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
    difference = np.abs(large - draw_background(name, KNOBS, 64, 64))
    assert difference.mean() < 0.003 and difference.max() < 0.2


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_wide_and_tall_frames_show_the_same_middle(name):
    middle = draw_background(name, KNOBS, 32, 32)
    np.testing.assert_allclose(draw_background(name, KNOBS, 32, 56)[:, 12:44], middle, atol=1e-5)
    np.testing.assert_allclose(draw_background(name, KNOBS, 56, 32)[12:44], middle, atol=1e-5)


def test_knobs_vary_scenes_and_nothing_plain():
    for name in SCENES:
        assert (
            np.abs(draw_background(name, KNOBS, 32, 32) - draw_background(name, (0.9, 0.1, 0.6), 32, 32)).max() > 0.05
        )
    for name in PLAIN:
        np.testing.assert_allclose(draw_background(name, KNOBS, 2, 2), np.broadcast_to(PLAIN[name], (2, 2, 3)))


def test_gradients_go_from_top_to_bottom():
    image = draw_background("pink to blue gradient", KNOBS, 64, 64)
    np.testing.assert_allclose(image[0, 5], PLAIN["pink"], atol=0.01)
    np.testing.assert_allclose(image[-1, 5], PLAIN["blue"], atol=0.01)
    assert "pink to blue gradient" in GRADIENTS and "pink to pink gradient" not in GRADIENTS


# Rendering


def colored(name, coverage, left, right) -> Member:
    """Of the one colour on its left half and of the other on its right."""
    columns = np.where(np.arange(PICTURE)[:, None] < PICTURE / 2, left, right)  # (PICTURE, 3)
    rgba = np.dstack([coverage[..., None] * columns[None], coverage])
    return Member(name, (), np.rint(255 * rgba).astype(np.uint8))


@pytest.fixture(scope="module")
def props():
    """A white disc, a square that is red on its left and green on its right, and a blue square."""
    disc, square = fill_polygon(OUTLINES["circle"]), fill_polygon(OUTLINES["square"])
    white, red, green, blue = (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)
    return Cast(
        "props",
        (colored("disc", disc, white, white), colored("flag", square, red, green), colored("tile", square, blue, blue)),
    )


def actor(name, x, y, radius, angle=0.0):
    """An object at rest, turned clockwise by an angle."""
    return Actor(name, Motion("spinning", x, y, radius, phase=angle / (2 * np.pi)))


def draw(cast, *actors, height=64, width=64, background="black"):
    """(H, W, 3) float64."""
    frames = render_scenes(cast, [Scene(actors, background)], [NOWHERE], height, width)
    return frames[0, :, 0].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (256, 256), (64, 104), (104, 64)])
@pytest.mark.parametrize(("x", "y", "radius"), [(0.4, 0.61, 0.2), (0.503, 0.333, 0.31), (0.2, 0.8, 0.1)])
def test_a_disc_is_where_and_as_large_as_its_scene_says(props, height, width, x, y, radius):
    low = PLAIN["black"][0]
    coverage = (draw(props, actor("disc", x, y, radius), height=height, width=width)[..., 0] - low) / (1 - low)
    side = min(height, width)
    area = np.pi * (radius * (1 - 2 * MARGIN) * side) ** 2
    assert coverage.sum() == pytest.approx(area, rel=0.01)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    center_x, center_y = coverage.sum(0) @ columns / coverage.sum(), coverage.sum(1) @ rows / coverage.sum()
    assert center_x == pytest.approx(x * side + (width - side) / 2, abs=0.05)
    assert center_y == pytest.approx(y * side + (height - side) / 2, abs=0.05)
    assert coverage.max() > 0.99 and ((coverage > 0.2) & (coverage < 0.8)).any()


@pytest.mark.parametrize("angle", [0, 0.4, np.pi / 2, 2.5, -1.2])
def test_pictures_are_turned_clockwise_as_a_plain_reference_turns_them(props, angle):
    """The reference looks up the nearest pixel of the picture for 8 x 8 places in each of the frame's."""
    x, y, radius, side = 0.45, 0.52, 0.28, 64
    places = (np.arange(8 * side) + 0.5) / (8 * side)
    away = np.stack(np.meshgrid(places - x, places - y))  # (2, rows, columns)
    across = (np.cos(angle), np.sin(angle))  # where the picture's x axis points once it is turned, y down
    along = (-np.sin(angle), np.cos(angle))
    found = [np.floor((np.tensordot(axis, away, 1) / radius + 1) * PICTURE / 2).astype(int) for axis in (across, along)]
    inside = (np.min(found, 0) >= 0) & (np.max(found, 0) < PICTURE)
    column, row = (np.clip(index, 0, PICTURE - 1) for index in found)
    rgba = props.members[1].picture[row, column] / 255 * inside[..., None]
    expected = rgba[..., :3] + (1 - rgba[..., 3:]) * np.array(PLAIN["gray"])
    expected = expected.reshape(side, 8, side, 8, 3).mean((1, 3))
    difference = np.abs(draw(props, actor("flag", x, y, radius, angle), background="gray") - expected)
    assert difference.mean() < 0.003 and difference.max() < 0.25


def test_a_quarter_turn_clockwise_brings_the_left_to_the_top(props):
    image = draw(props, actor("flag", 0.5, 0.5, 0.4, np.pi / 2))
    assert image[20, 32].argmax() == 0 and image[44, 32].argmax() == 1  # red, green


def sampled_scenes(cast, count, two_objects=0.3, seed=1):
    sample, rng = SceneSampler(cast, "all", two_objects), random(seed)
    return [sample(rng) for _ in range(count)]


TIMES = np.array([0.0, 1.3, 4.4])


def test_a_small_frame_is_the_large_one_averaged_down(shapes):
    scenes = sampled_scenes(shapes, 24)
    seconds = [TIMES] * len(scenes)
    large = torch.nn.functional.avg_pool3d(render_scenes(shapes, scenes, seconds, 256, 256), (1, 4, 4))
    difference = (large - render_scenes(shapes, scenes, seconds, 64, 64)).abs()
    assert difference.mean() < 0.002 and difference.amax((1, 2, 3, 4)).median() < 0.15


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (80, 48)])
def test_a_window_is_that_part_of_the_frame(shapes, height, width):
    scenes = sampled_scenes(shapes, 24)
    seconds = [TIMES] * len(scenes)
    whole = render_scenes(shapes, scenes, seconds, height, width)
    windows = [(8 * (i % 4), 4 * (i % 6), 24, 28) for i in range(len(scenes))]
    parts = render_scenes(shapes, scenes, seconds, height, width, windows)
    for (top, left, rows, columns), frames, part in zip(windows, whole, parts, strict=True):
        torch.testing.assert_close(part, frames[..., top : top + rows, left : left + columns], rtol=0, atol=1e-4)


def test_a_batch_is_its_scenes_one_by_one_and_a_clip_its_frames(shapes):
    scenes = sampled_scenes(shapes, 12)
    seconds = [TIMES + 0.01 * i for i in range(len(scenes))]
    together = render_scenes(shapes, scenes, seconds, 40, 40)
    assert together.shape == (12, 3, 3, 40, 40) and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1 + 1e-6
    for scene, at, frames in zip(scenes, seconds, together, strict=True):
        torch.testing.assert_close(render_scenes(shapes, [scene], [at], 40, 40)[0], frames, rtol=0, atol=0)
        for i in range(len(at)):
            still = render_scenes(shapes, [scene], [at[i : i + 1]], 40, 40)[0]
            torch.testing.assert_close(still[:, 0], frames[:, i], rtol=0, atol=1e-5)


def test_render_clip_shows_the_scene_from_its_start(shapes):
    scene = sampled_scenes(shapes, 1)[0]
    clip = render_clip(shapes, scene, CLIP_FRAMES, 24, 32)
    assert CLIP_FRAMES == 80 and clip.shape == (80, 24, 32, 3)
    again = render_scenes(shapes, [scene], [np.array([0, 50 / FPS])], 24, 32)[0].permute(1, 2, 3, 0)
    torch.testing.assert_close(clip[[0, 50]], again, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="frames, height and width must be at least 1; got 0, 24, 32"):
        render_clip(shapes, scene, 0, 24, 32)


def test_the_second_object_is_drawn_over_the_first(props):
    flag, tile = actor("flag", 0.4, 0.5, 0.25), actor("tile", 0.6, 0.5, 0.25)
    for actors, front in (((flag, tile), "tile"), ((tile, flag), "flag")):
        image = draw(props, *actors)
        at_both = image[32, 32]  # the flag's right half is green
        assert at_both.argmax() == {"tile": 2, "flag": 1}[front] and at_both.max() > 0.99
        assert image[32, 14].argmax() == 0 and image[32, 50].argmax() == 2


@pytest.mark.parametrize("around", [(0, 0, 0), (255, 0, 255)])
@pytest.mark.parametrize("size", [40, 700])
def test_edges_have_no_fringe_of_what_lies_under_transparent_pixels(folder, around, size):
    """A white object on white must not be seen, whatever colour its transparent pixels have."""
    cutout(size, size, (255, 255, 255), around).save(folder / "ball.png")
    for side in (24, 64, 256):
        image = draw(
            load_cast(folder), actor("ball", 0.47, 0.53, 0.3, 0.5), height=side, width=side, background="white"
        )
        assert image.min() > PLAIN["white"][0] - 2 / 255 and np.ptp(image, axis=-1).max() < 2 / 255


def test_an_object_outside_the_window_leaves_it_as_it_was(props):
    scene = Scene((actor("flag", 0.2, 0.2, 0.1),), "meadow", KNOBS)
    frames = render_scenes(props, [scene], [NOWHERE], 64, 64, [(40, 40, 16, 16)])[0, :, 0].permute(1, 2, 0)
    np.testing.assert_array_equal(frames, draw_background("meadow", KNOBS, 64, 64, (40, 40, 16, 16)))


# Scenes and splits


def test_held_out_pairs_are_a_fourteenth_and_every_noun_and_motion_is_trained(shapes):
    train, held_out, everything = (combinations(shapes, split) for split in ("train", "held_out", "all"))
    assert set(train) | set(held_out) == set(everything) and not set(train) & set(held_out)
    assert len(held_out) / len(everything) == pytest.approx(1 / len(MOTIONS), abs=0.02)
    assert {name for name, _ in train} == set(shapes.names)
    assert {motion for _, motion in train} == {motion for _, motion in held_out} == set(MOTIONS)
    for name in shapes.names:
        assert sum(is_held_out(shapes, name, motion) for motion in MOTIONS) == 1
    with pytest.raises(ValueError, match="split must be one of train, held_out, all; got 'test'"):
        combinations(shapes, "test")


def test_round_things_do_not_spin(shapes):
    spinning = {name for name, motion in combinations(shapes, "all") if motion in TURNING}
    assert spinning == {name for name in shapes.names if "circle" not in name}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_splits_never_mix_even_in_second_objects(shapes, split):
    sample, rng = SceneSampler(shapes, split, two_objects=0.5), random()
    for scene in (sample(rng) for _ in range(1500)):
        for one in scene.actors:
            assert is_held_out(shapes, one.name, one.moves) == (split == "held_out")
        assert len({one.name for one in scene.actors}) == len(scene.actors)


def test_scenes_are_seeded_and_as_often_of_two_as_asked(shapes):
    assert sampled_scenes(shapes, 30) == sampled_scenes(shapes, 30) != sampled_scenes(shapes, 30, seed=2)
    for share in (0.0, 0.3, 1.0):
        two = np.mean([len(scene.actors) == 2 for scene in sampled_scenes(shapes, 1000, share)])
        assert two == pytest.approx(share, abs=0.05)


def test_a_cast_of_one_is_never_two(props):
    lonely = Cast("lonely", props.members[:1])
    assert all(len(scene.actors) == 1 for scene in sampled_scenes(lonely, 50, two_objects=1.0))


def test_motions_are_drawn_as_often_as_asked(shapes):
    rng = random()
    even, often = SceneSampler(shapes, two_objects=0), SceneSampler(shapes, two_objects=0, motions={"spinning": 3.0})
    share = [np.mean([s(rng).actors[0].moves == "spinning" for _ in range(3000)]) for s in (even, often)]
    odds = [part / (1 - part) for part in share]
    assert odds[1] / odds[0] == pytest.approx(3, rel=0.2)


def test_paces_are_stated_only_of_what_has_one(shapes):
    for scene in sampled_scenes(shapes, 500):
        for one in scene.actors:
            assert one.pace == "normal" or has_pace(one.moves)
    assert make_scene("red star", "bouncing", "white", random(), "quick").actors[0].motion.cycles == 5
    with pytest.raises(ValueError, match="motion must be one of moving left, .*; got 'sailing'"):
        make_scene("red star", "sailing", "white", random())


# Captions


def captions(cast, count=400, **options):
    """(caption's kind, scene, caption) of random scenes."""
    captioner, rng = Captioner(cast), random(3)
    for scene in sampled_scenes(cast, count):
        yield "canonical", scene, captioner.canonical(scene)
        yield "moving", scene, captioner.moving(scene, rng, **options)
        yield "still", scene, captioner.still(scene, rng, **options)


def stated(cast, caption) -> dict[str, str]:
    classes = label_classes(cast)
    return {key: classes[key][label] for key, label in zip(classes, caption.labels, strict=True)}


@pytest.fixture(scope="module")
def wordy(shapes):
    """The stickers' names with stand-ins for their pictures."""
    rows = [line.split(",") for line in STICKERS.read_text(encoding="utf-8").splitlines()[1:]]
    picture = shapes.members[-1].picture
    return Cast("stickers", tuple(Member(name, tuple(other.split(";")), picture) for name, other, _ in rows))


@pytest.mark.parametrize("cast", ["shapes", "wordy"])
def test_captions_are_short_ascii(request, cast):
    for _, _, caption in captions(request.getfixturevalue(cast), 1500):
        assert caption.text.isascii() and len(caption.text) <= LONGEST_CAPTION
        assert caption.text == caption.text.strip() and "  " not in caption.text


def test_captions_are_short_even_of_the_longest_names(props):
    """Of two objects whose names a table just allows, in letters of two bytes."""
    long = Cast("long", tuple(Member(letter * 20, (letter * 60,), props.members[0].picture) for letter in "äö"))
    for _, scene, caption in captions(long, 60):
        assert len(caption.text.encode()) <= LONGEST_CAPTION
        for one in scene.actors:
            assert one.name in caption.text.lower()


@pytest.mark.parametrize("cast", ["shapes", "wordy"])
def test_labels_are_what_the_text_says(request, cast):
    """Read off the text by its words; of two objects the first half tells of the first."""
    cast = request.getfixturevalue(cast)
    words = {member.name: member.words for member in cast.members}
    for kind, scene, caption in captions(cast):
        text, said = caption.text.lower().rstrip("."), stated(cast, caption)
        places = [phrase for phrase in background_phrases(scene.background) if phrase in text]
        assert bool(places) == (said["background"] != "unstated")
        text = text.replace(max(places, key=len), "").strip(" ,") if places else text
        clauses = text.replace("up and down", "up & down").split(" and ")
        assert len(clauses) == len(scene.actors)
        for one, clause, prefix in zip(scene.actors, clauses, ("", "second "), strict=False):
            clause = clause.replace("&", "and")
            assert said[f"{prefix}noun"] == one.name
            nouns = [word for word in words[one.name] if word in clause]
            assert nouns
            clause = re.sub(rf"\b{max(nouns, key=len)}\b", "", clause)  # not the owl in "slowly"
            assert said[f"{prefix}motion"] == motion_of(clause)
            assert said[f"{prefix}pace"] == pace_of(clause)
            if said[f"{prefix}motion"] == "unstated":
                assert kind == "still" or len(scene.actors) == 2
            else:
                assert (said[f"{prefix}motion"], said[f"{prefix}pace"]) == (one.moves, one.pace)
        if len(scene.actors) == 1:
            assert (said["second noun"], said["second motion"], said["second pace"]) == ("none", "none", "normal")


def motion_of(clause: str) -> str:
    """The motion whose phrase is the longest in the clause."""
    found = {
        phrase: motion
        for motion, kinds in MOTION_PHRASES.items()
        for phrase in itertools.chain(*kinds)
        if phrase in clause
    }
    return found[max(found, key=len)] if found else "unstated"


def pace_of(clause: str) -> str:
    return next(
        (pace for pace, adverbs in ADVERBS.items() if any(adverb in clause.split() for adverb in adverbs)), "normal"
    )


def test_how_often_captions_state_what(shapes):
    of = {kind: [] for kind in ("canonical", "moving", "still")}
    for kind, scene, caption in captions(shapes, 1000):
        tumbles = any(one.moves in TUMBLING for one in scene.actors)
        of[kind].append((tumbles, stated(shapes, caption)))
    assert np.mean([said["background"] != "unstated" for _, said in of["moving"]]) == pytest.approx(0.85, abs=0.08)
    assert all(said["motion"] != "unstated" for _, said in of["moving"])
    assert all(said["motion"] != "unstated" for tumbles, said in of["still"] if tumbles)
    silent = [said["motion"] == "unstated" for tumbles, said in of["still"] if not tumbles]
    assert np.mean(silent) == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_writes_the_same_captions(shapes):
    assert list(captions(shapes, 50)) == list(captions(shapes, 50))
    texts = {Captioner(shapes).moving(sampled_scenes(shapes, 1)[0], random(seed)).text for seed in range(40)}
    assert len(texts) > 15


def test_canonical_captions(shapes):
    write = Captioner(shapes).canonical
    scene = make_scene("orange star", "moving right", "meadow", random(), "normal")
    assert write(scene).text == "an orange star moving right on a meadow"
    slow = make_scene("red circle", "bouncing", "gray", random(), "slow")
    assert write(slow).text == "a red circle slowly bouncing on a gray background"
    both = make_two(("red circle", "growing"), ("blue star", "falling"), "sea", random())
    assert write(both).text == "a red circle growing and a blue star falling on the sea"
    every = [
        write(make_scene(name, motion, background, random(), "normal")).text
        for (name, motion), background in itertools.product(combinations(shapes, "all"), BACKGROUNDS[::3])
    ]
    assert len(set(every)) == len(every)


def test_phrases():
    assert set(MOTION_PHRASES) == set(MOTIONS) and set(SCENE_PHRASES) == set(SCENES)
    assert all(phrases.participles[0] == motion for motion, phrases in MOTION_PHRASES.items())
    said = [(phrase, motion) for motion, kinds in MOTION_PHRASES.items() for phrase in itertools.chain(*kinds)]
    said += [(phrase, name) for name in BACKGROUNDS for phrase in background_phrases(name)]
    meanings = {}
    for phrase, meaning in said:
        assert meanings.setdefault(phrase, meaning) == meaning


def test_articles(wordy):
    nouns = ("fox", "owl", "ice cream", "unicorn", "ufo", "earth")
    assert [noun_phrase("a", noun) for noun in nouns] == [
        "a fox", "an owl", "an ice cream", "a unicorn", "a ufo", "an earth"
    ]  # fmt: skip
    assert noun_phrase("the", "owl") == "the owl" and noun_phrase("", "owl") == "owl"
    bare = ("cherries", "two eyes", "coffee", "santa claus", "bananas", "boxing gloves")
    assert all(noun_phrase("a", noun) == noun for noun in bare)
    singular = (
        "a pair of socks",
        "a bus",
        "a cactus",
        "a kiss",
        "a face with sunglasses",
        "an hourglass",
        "an umbrella",
    )
    assert [noun_phrase("a", phrase.partition(" ")[2]) for phrase in singular] == list(singular)


@pytest.mark.parametrize("name", ["stickers", "stickers_large"])
def test_the_packaged_tables_are_whole(name, tmp_path):
    """Every name once, and a file each: the same that loading asks for, with pictures made here."""
    import csv

    with named_table(name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    picture = Image.new("RGBA", (8, 8))
    picture.paste((255, 0, 0, 255), (2, 2, 6, 6))
    for row in rows:
        picture.save(tmp_path / row["file"])
    cast = load_cast(tmp_path, named_table(name))
    assert (cast.name, len(cast)) == (name, len(rows)) and len(cast) >= {"stickers": 100, "stickers_large": 250}[name]
    assert all(word.isascii() for member in cast.members for word in member.words)
    assert named_table("someone's own") is None


def test_the_large_table_goes_on_from_the_small_one():
    small, large = (named_table(name).read_text(encoding="utf-8") for name in ("stickers", "stickers_large"))
    assert large.startswith(small)
