"""Recipes that are wrong: one line that names the field, what it must be and what it is; nothing else, ever."""

import contextlib
import random
import re
from pathlib import Path

import pytest

from lumiere_video.lumiere_core.training import Recipe, load_recipe
from lumiere_video.lumiere_core.training.files import StageFiles
from lumiere_video.lumiere_core.training.preflight import check_stages
from lumiere_video.lumiere_core.training.recipe import Phase, Stage
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.source import world_sources

TEXT = Path(__file__).with_name("small.toml").read_text(encoding="utf-8")


@pytest.fixture
def load(tmp_path):
    def load(text: str) -> Recipe:
        file = tmp_path / "small.toml"
        file.write_text(text, encoding="utf-8")
        return load_recipe(file)

    return load


def test_the_recipe_of_these_tests_is_right(load):
    assert [stage.kind for stage in load(TEXT).stages] == ["text", "t2i", "base", "ssr_image", "style"]


# One wrong value for every field: stage, what the line is, what it becomes, what the message says of it.
WRONG_VALUES = [
    ('name = "small"', "name = 3", "recipe: name must be text .*; got 3"),
    ("seed = 3", 'seed = "three"', "recipe: seed must be a whole number from 0 to 9223372036854775807; got 'three'"),
    ("seed = 3", "seed = -1", "seed must be .*; got -1"),
    ("seed = 3", "seed = 2.0", "seed must be a whole number .*; got 2.0"),
    ("seed = 3", "seed = true", "seed must be a whole number .*; got True"),
    ('cast = "shapes"', "cast = []", r"cast must be text .*; got \[\]"),
    ("seed = 3", "text_encoder = 1.5", "text_encoder must be text or null; got 1.5"),
    ('kind = "t2i"', "kind = 1979-05-27", "stage 'stills': kind must be one of text, t2i, .*; got datetime"),
    ('kind = "t2i"', 'kind = ["t2i"]', r"stage 'stills': kind must be one of .*; got \['t2i'\]"),
    ('name = "stills"', "name = {}", "stage {}: name must be text that can be a file's name.*; got {}"),
    ("learning_rate = 1e-2", 'learning_rate = "1e-2"', "'words': learning_rate must be a number above 0.*; got '1e-2'"),
    ("learning_rate = 1e-2", "learning_rate = nan", "learning_rate must be a number above 0, at most 1000; got nan"),
    ("learning_rate = 1e-2", "learning_rate = inf", "learning_rate must be .*; got inf"),
    ("learning_rate = 1e-2", "learning_rate = 0", "learning_rate must be .*; got 0"),
    ("learning_rate = 1e-2", f"learning_rate = 0x{'f' * 5000}", "small.toml: .* whole numbers have at most 64 bits"),
    ("warmup = 2", "warmup = 2.5", "warmup must be a whole number from 0 .*; got 2.5"),
    ("decay = 0.3", "decay = -0.1", "decay must be a number from 0 to 1; got -0.1"),
    ("decay = 0.3", "decay = []", r"decay must be a number from 0 to 1; got \[\]"),
    ("weight_decay = 0.0", 'weight_decay = "no"', "weight_decay must be a number .*; got 'no'"),
    ("text_dropout = 0.02", "text_dropout = 2", "text_dropout must be a number from 0 to 1; got 2"),
    ("size = 16", 'size = "16"', "'stills': size must be a whole number from 1 to 16384; got '16'"),
    ("size = 16", "size = 1e1", "size must be a whole number .*; got 10.0"),
    ('optimizer = "adamw"', "optimizer = 1", "optimizer must be one of adamw, muon; got 1"),
    ("timestep_bias = 0.6", "timestep_bias = true", "timestep_bias must be a number above 0, .*; got True"),
    ("min_snr = 5.0", "min_snr = [5.0]", r"min_snr must be a number above 0, .* or null; got \[5.0\]"),
    ("clip_norm = 1.0", "clip_norm = 0", "clip_norm must be .*; got 0"),
    ("ema_decay = 0.99", "ema_decay = 99", "ema_decay must be a number from 0 to 1; got 99"),
    ('name = "linear"', "name = []", r"'stills', schedule: name must be text; got \[\]"),
    ('name = "linear"', 'name = "steep"', "NoiseSchedule: name must be one of .*; got 'steep'"),
    ("timesteps = 1000", 'timesteps = "many"', "schedule: timesteps must be a whole number .*; got 'many'"),
    ("timesteps = 1000", "timesteps = 1000000000", "schedule: timesteps must be .*; got 1000000000"),
    ("shift = 2.0", "shift = {}", "schedule: shift must be a number; got {}"),
    ("patch = 2", "patch = 0", "'stills', network: patch must be a whole number from 1 to 64; got 0"),
    (
        "channels = [8, 32]",
        "channels = 8",
        "channels must be a list, each of it a whole number .*, with 1 to 8 entries; got 8",
    ),
    ("channels = [8, 32]", "channels = []", r"network: channels must be a list, .*, with 1 to 8 entries; got \[\]"),
    ("channels = [8, 32]", "channels = [8, 16, 32]", "channels and attention must have one entry per level .* 3 and 2"),
    ("channels = [8, 32]", "channels = [8, -32]", r"channels must be a list, .*; got \[8, -32\]"),
    ("attention = [false, true]", "attention = [0, 1]", "attention must be a list, each of it true or false, .*; got"),
    ("\nlayers = 1", "\nlayers = 1000000000", "network: layers must be a whole number from 1 to 32; got 1000000000"),
    ("norm_groups = 4", "norm_groups = 0", "network: norm_groups must be .*; got 0"),
    ("attention_head_dim = 8", 'attention_head_dim = "8"', "network: attention_head_dim must be .*; got '8'"),
    ('activation = "silu"', 'activation = "tanh"', "network: activation must be one of gelu, silu; got 'tanh'"),
    ("resnet_scale_factor = 1.0", "resnet_scale_factor = 0", "network: resnet_scale_factor must be .*; got 0"),
    ("max_tokens = 96", "max_tokens = -1", "'words', network: max_tokens must be .*; got -1"),
    ("vocab_size = 384", "vocab_size = 8", "network: vocab_size must be a whole number from 259 .*; got 8"),
    ("d_model = 32", 'd_model = "wide"', "network: d_model must be .*; got 'wide'"),
    ("num_heads = 4", "num_heads = []", "network: num_heads must be .*"),
    ('"gated-gelu"', '"gelu-gated"', "feed_forward_proj must be one of relu, .*; got 'gelu-gated'"),
    ("dropout_rate = 0.1", "dropout_rate = 1", "dropout_rate must be a number from 0 to below 1; got 1"),
    ("dropout_rate = 0.1", "wings = 2", "'words', network has the unknown field 'wings'"),
    ("first_frame = 1", 'first_frame = "often"', "'clips': tasks must be a table of numbers above 0"),
    ("[stage.tasks]", "tasks = 3\n[stage.notes]", "'clips' has the unknown field 'notes'"),
    ("spinning = 3", "spinning = nan", "'clips': motions must be a table of numbers .*; got {'spinning': nan}"),
    ("halve = true", "halve = 1", "'clips', network: halve must be true or false; got 1"),
    ("position = true", "position = []", "network: position must be true or false"),
    ("guidance = 3.0", 'guidance = "high"', "'clips', info: guidance must be a number from 0 to 100; got 'high'"),
    ("steps = 25", "steps = 0", "'clips', info: steps must be a whole number from 1 to 1000; got 0"),
    ('sampler = "dpmpp_2m"', "sampler = []", "info: sampler must be one of euler, .*"),
    ("loop = false", 'loop = "no"', "info: loop must be true or false; got 'no'"),
    ("percentile = 0.95", "percentile = 2", "info, thresholding: percentile must be .*; got 2"),
    ("percentile = 0.95", "quantile = 0.9", "info, thresholding has the unknown field 'quantile'"),
    ("{percentile = 0.95, maximum = 1.5}", "[0.95]", "info: thresholding must be a table or null; got"),
    ("frames = 3", "frames = 3.0", "'clips', phase 1: frames must be a whole number from 1 to 16384; got 3.0"),
    ("excerpt_of = 15", 'excerpt_of = "all"', "phase 1: excerpt_of must be .*; got 'all'"),
    ("vary = 0.5", 'vary = "some"', "phase 1: vary must be a number from 0 to 1; got 'some'"),
    ("batch = 4", "batch = 1000000000000", "phase 1: batch must be .*; got 1000000000000"),
    ("crop = 8", "crop = 0", "'stills', phase 1: crop must be a whole number .*; got 0"),
    ("scale = 4", "scale = 0", "'large': scale must be a whole number from 1 to 64; got 0"),
    ("max_noise_level = 100", "max_noise_level = 1.5", "max_noise_level must be a whole number or null; got 1.5"),
    ("align_corners = false", 'align_corners = "no"', "align_corners must be true or false; got 'no'"),
    ('prediction = "residual"', "prediction = []", "info: prediction must be one of eps, v, residual"),
    ('start = "stills"', "start = 3", "'clips': start must be text or null; got 3"),
    ('images = "pictures"', "images = []", "'look': images must be text"),
    ('caption = "a thing"', "caption = 3", "'look': caption must be text; got 3"),
    ('character = "zorp"', "character = true", "'look': character must be text or null; got True"),
    ("world_share = 0.25", "world_share = 1", "world_share must be a number from 0 to below 1; got 1"),
    ("two_objects = 0.1", "two_objects = 1.1", "two_objects must be a number from 0 to 1; got 1.1"),
    ("rank = 2", "rank = 2.0", "'look', network: rank must be a whole number from 1 to 4096; got 2.0"),
    ("rank = 2", "", "'look', network lacks the field 'rank'"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG_VALUES, ids=lambda text: text[:40])
def test_a_wrong_value_is_named(load, old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message) as raised:
        load(TEXT.replace(old, new, 1))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\nstage = [1, 2]', r"stages are a list; write \[\[stage\]\]"),
        ('name = "a"\nstage = "words"', r"stages are a list; write \[\[stage\]\]"),
        (TEXT.replace("[[stage.phase]]", "[stage.phase]", 1), r"'words': phases are a list; write \[\[stage.phase\]\]"),
        (TEXT.replace("[stage.schedule]", "schedule = 3\n[stage.x]"), "'stills', schedule must be a table"),
        (TEXT.replace("[stage.network]", "network = 3\n[stage.x]", 1), "'words' has the unknown field 'x'"),
        (TEXT.replace("warmup = 2", "phases = []"), "'words' has the unknown field 'phases'"),
        (TEXT.replace("seed = 3", "stages = []"), "recipe has the unknown field 'stages'"),
        ("a = " + "[" * 20000, "small.toml: not a TOML file"),
        ("a = 1" + "0" * 5000, "small.toml: not a TOML file"),
    ],
    ids=range(9),
)
def test_a_wrong_structure_is_named(load, text, message):
    with pytest.raises(ValueError, match=message):
        load(text)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="a.toml: not a TOML file"):
        load_recipe(tmp_path / "a.toml")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "a.toml").write_text(TEXT, encoding="utf-8-sig")
    assert load_recipe(tmp_path / "a.toml").name == "small"


OUTSIDE = (
    "../out",
    "..",
    ".",
    "/etc/out",
    "a/b",
    r"a\\b",
    "c:out",
    ".hidden",
    "a\\u0000",
    "a\\nb",
    "",
    " ",
    "a.",
    "x" * 250,
)


@pytest.mark.parametrize("name", [*OUTSIDE, "x" * 250])
@pytest.mark.parametrize("what", ['name = "small"', 'name = "words"', 'cast = "shapes"'])
def test_names_lead_nowhere(load, what, name):
    """Of a recipe and of a stage, because they are files' names; of a cast, because its table is looked for."""
    with pytest.raises(ValueError, match="(name|cast) must be text that can be a file's name"):
        load(TEXT.replace(what, f'{what.split(" = ")[0]} = "{name}"', 1))


@pytest.mark.parametrize("name", ["words", "my words (2)", "wörter", "v1.2-words", "言葉", "it's & that"])
def test_names_may_be_what_files_are_called(load, name):
    assert load(TEXT.replace('"words"', f'"{name}"', 1)).stages[0].name == name


@pytest.mark.parametrize("other", ["words", "WORDS", "words.state", "words.partial"])
def test_no_two_stages_write_one_file(load, other):
    with pytest.raises(ValueError, match=f"two stages are called 'words' and '{other}'"):
        load(TEXT.replace('"stills"', f'"{other}"'))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "text"', 'kind = "text"\nstart = "stills"', "'words': a text encoder starts from nothing"),
        ('kind = "text"', 'kind = "text"\nimages = "x"', "'words': images is for stages of kind style; this is text"),
        ('start = "stills"', 'start = "words"', "'clips' starts from 'words', which is a text encoder"),
        ("min_snr = 5.0", 'info = {prediction = "residual"}', "the prediction residual is for stages of kind ssr"),
        ("min_snr = 5.0", 'min_snr = 1.0\ninfo = {prediction = "eps"}', "min_snr is for networks that predict v"),
        ('start = "stills"\nsize = 16', 'start = "stills"\nsize = 4', "size must be at least 8 where .*; got 4"),
        ("crop = 16", "crop = 18", "multiples of scale=4, at most 32; got 18"),
        ("scale = 4", "scale = 16\n#", "'large': scale must divide 8 where phases vary"),
    ],
)  # fmt: skip
def test_fields_that_do_not_go_together(load, old, new, message):
    text = TEXT.replace("crop = 16", "crop = 16\nvary = 0.5")
    assert old in text
    with pytest.raises(ValueError, match=message):
        load(text.replace(old, new, 1))


def test_the_library_checks_what_a_file_would():
    fields = {"kind": "style", "network": {"rank": 1}, "learning_rate": 1.0, "start": "a.safetensors", "images": "b"}
    assert Stage("look", phases=(Phase(1, 1),), **fields).steps == 1
    with pytest.raises(ValueError, match="stage 'look', phase 1: steps must be a whole number .*; got '1'"):
        Stage("look", phases=(Phase("1", 1),), **fields)
    with pytest.raises(ValueError, match="stage '../look': name must be text"):
        Stage("../look", phases=(Phase(1, 1),), **fields)
    with pytest.raises(ValueError, match="recipe: name must be text .*; got '..'"):
        Recipe("..", ())


# A small fuzzer

JUNK = (
    '""', '"x"', '"../../x"', '"/x"', '"a\\u0000"', "-1", "0", "1", "3", "7.5", "1e400", "nan", "-inf", "true", "[]",
    "[[]]", "{}", "[1, 2]", '["a"]', "{a = 1}", "1979-05-27", "99999999999999999999", f"0x{'f' * 3000}",
    "''", "words", '"stills"', '"ssr"',
)  # fmt: skip


def mutated(text: str, rng: random.Random) -> str:
    """One to three lines changed: another value, gone, twice, elsewhere, or damaged."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        index = rng.randrange(len(lines))
        line, kind = lines[index], rng.randrange(6)
        if " = " in line and kind < 3:
            lines[index] = f"{line.split(' = ')[0]} = {rng.choice(JUNK)}"
        elif kind == 3:
            lines.pop(index)
        elif kind == 4:
            lines.insert(rng.randrange(len(lines)), line)
        elif line:
            place = rng.randrange(len(line))
            lines[index] = line[:place] + rng.choice('[]"={}\x00\u2028é.,#1') + line[place + 1 :]
    return "\n".join(lines)


@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_whatever_a_recipe_says_it_loads_or_is_refused_in_one_line(tmp_path, load, count):
    """Those that load write into the output folder alone, and what they name is there or refused, too."""
    rng, world, loaded, refused = random.Random(11), drawn_shapes(), 0, set()
    output = Path("/output")
    for _ in range(count):
        try:
            recipe = load(mutated(TEXT, rng))
        except ValueError as error:
            assert "\n" not in str(error)
            refused.add(re.sub(r"got .*|'.*'|\d+", "", str(error)))
            continue
        loaded += 1
        files = [file for stage in recipe.stages for file in StageFiles.of(output, stage.name)]
        assert all(file.parent == output and file.name not in ("", "..") for file in files)
        assert len(set(files)) == len(files)
        with contextlib.suppress(ValueError):
            check_stages(recipe, recipe.stages, tmp_path / "out", world_sources(recipe, world))
    assert loaded > count / 20 and len(refused) > count / 8, "the mutations reach both ends"
    assert [file.name for file in tmp_path.iterdir()] == ["small.toml"]
