"""Help pages and translations say what the nodes' schemas, and the messages in the code, say."""

import ast
import json
import re
from pathlib import Path

import pytest

from lumiere_video.lumiere_core.checkpoints.bundled import BASE, bundled_weights
from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.lumiere_core.conditioning.vocabulary import Vocabulary
from lumiere_video.nodes.extension import NODES

ROOT = Path(__file__).resolve().parents[2]
DOCS, LOCALES = ROOT / "web" / "docs", ROOT / "locales"
SCHEMAS = {schema.node_id: schema for schema in (node.define_schema() for node in NODES)}
LANGUAGES = ("en", "zh")  # of the help pages
LOCALE_LANGUAGES = ("en", "zh", "ko", "ja")
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"  # to a reader a COMBO, whose choices bring inputs along
ERRORS = ("ValueError", "UntoldKind")  # whose arguments are messages
SECTIONS = {  # inputs, outputs, example, errors
    "en": ("Inputs", "Outputs", "Example", "Common errors"),
    "zh": ("输入", "输出", "示例", "常见错误"),
}
MODES = {"en": "Modes", "zh": "模式"}  # the section with what choices bring along
MARKS = {"en": (" (optional)", " (advanced)"), "zh": ("（可选）", "（高级）")}
SCRIPTS = {"zh": "[\u4e00-\u9fff]", "ko": "[가-힣]", "ja": "[ぁ-んァ-ヴ]"}

every_node = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
every_language = pytest.mark.parametrize("language", LANGUAGES)
every_locale = pytest.mark.parametrize("language", LOCALE_LANGUAGES)


def brought_inputs(spec) -> dict:
    """What the choices of a DynamicCombo bring along, by the ids that workflows save; of other inputs nothing."""
    options = spec.options if spec.type == DYNAMIC_COMBO else ()
    return {f"{spec.id}.{inner.id}": inner for option in options for inner in option.inputs}


def all_inputs(schema) -> dict:
    """Inputs by id, each with what its choices bring along."""
    found = {}
    for spec in schema.inputs:
        found |= {spec.id: spec, **brought_inputs(spec)}
    return found


def locale_key(id: str) -> str:
    """Where the frontend looks an input up."""
    return id.replace(".", "_")


def page(schema, language: str) -> dict[str, list[str]]:
    """A help page's lines by heading; the title and the introduction come under ""."""
    name = f"{schema.node_id}.md" if language == "en" else f"{schema.node_id}/{language}.md"
    sections = {"": []}
    for line in (DOCS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            sections[line[3:]] = []
        else:
            sections[list(sections)[-1]].append(line)
    return sections


def table(lines: list[str]) -> list[list[str]]:
    """Cells of the rows below the head of a section's one table."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def label(id: str, name: str) -> str:
    """How a page names an input or output: its id, and what the translated node shows where that is another word."""
    return f"`{id}`" if name.lower() == id.rpartition(".")[2] else f"`{id}` {name}"


def default_cell(spec) -> str:
    if spec.type == DYNAMIC_COMBO:
        return f"`{spec.choices[0]}`"
    if spec.default is None:
        return "-"
    return f"`{spec.default}`" if isinstance(spec.default, str) and spec.default else f"`{json.dumps(spec.default)}`"


def check_inputs(rows: list[list[str]], specs: dict, names: dict, language: str) -> None:
    """A table of inputs: all of them in order, with type, default, and range or choices as in the schema."""
    optional, advanced = MARKS[language]
    assert [row[0] for row in rows] == [label(id, names[locale_key(id)]["name"]) for id in specs]
    for (_, kind, default, choices, meaning), (id, spec) in zip(rows, specs.items(), strict=True):
        type_name = "COMBO" if spec.type == DYNAMIC_COMBO else spec.type
        assert kind == type_name + optional * bool(spec.optional) + advanced * bool(spec.advanced), id
        assert default == default_cell(spec), id
        if spec.type in ("INT", "FLOAT"):
            assert re.findall(r"-?\d+(?:\.\d+)?", choices) == [str(spec.min), str(spec.max)], id
        elif type_name == "COMBO" and default != "-":  # without a default: files, which differ
            assert re.findall(r"`(.+?)`", choices) == list(spec.choices), id
        assert meaning, id


def quoted_errors(schema, language: str) -> list[str]:
    lines = page(schema, language)[SECTIONS[language][3]]
    return [line[3:-1] for line in lines if line.startswith("- `")]


def messages() -> list[re.Pattern]:
    """What the code may say, as patterns: the arguments of ERRORS, with anything in place of their values.

    Those that pass another message on say nothing themselves, and would match everything.
    """
    found = []
    for file in [*(ROOT / "nodes").rglob("*.py"), *(ROOT / "lumiere_core").rglob("*.py")]:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) in ERRORS and call.args:
                pieces = getattr(call.args[0], "values", [call.args[0]])  # an f-string's, or a string
                texts = [piece.value if isinstance(piece, ast.Constant) else None for piece in pieces]
                if sum(len(text) for text in texts if text) > 20:
                    found.append(re.compile("".join(".*" if text is None else re.escape(text) for text in texts)))
    return found


MESSAGES = messages()


def locale(language: str) -> dict:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


@every_node
def test_nodes_say_what_they_are(schema):
    assert schema.node_id.startswith("Lumiere")
    assert schema.category.startswith("Lumiere")
    assert schema.display_name and schema.description
    assert schema.search_aliases


@every_node
def test_everything_has_a_tooltip(schema):
    specs = {**all_inputs(schema), **{f"-> {out.display_name}": out for out in schema.outputs}}
    assert [name for name, spec in specs.items() if not (spec.tooltip or "").strip()] == []


@every_node
@every_language
def test_page_has_its_parts(schema, language):
    sections = page(schema, language)
    title, _, *introduction = sections[""]
    assert title == f"# {locale(language)[schema.node_id]['display_name']}"
    assert any(line.strip() for line in introduction)
    assert [heading for heading in sections if heading in SECTIONS[language]] == list(SECTIONS[language])
    assert all(any(line.strip() for line in sections[heading]) for heading in SECTIONS[language])
    assert any(line.endswith(f"](images/{schema.node_id}.png)") for line in introduction)


@every_node
@every_language
def test_page_lists_the_inputs(schema, language):
    rows = table(page(schema, language)[SECTIONS[language][0]])
    specs = {spec.id: spec for spec in schema.inputs}
    check_inputs(rows, specs, locale(language)[schema.node_id]["inputs"], language)


@every_node
@every_language
def test_page_lists_what_choices_bring_along(schema, language):
    specs = {id: spec for id, spec in all_inputs(schema).items() if "." in id}
    sections = page(schema, language)
    assert (MODES[language] in sections) == bool(specs)
    rows = table(sections.get(MODES[language], []))
    check_inputs(rows, specs, locale(language)[schema.node_id]["inputs"], language)


@every_node
@every_language
def test_page_lists_the_outputs(schema, language):
    rows = table(page(schema, language)[SECTIONS[language][1]])
    names = locale(language)[schema.node_id]["outputs"]
    outputs = [(label(out.display_name, names[str(i)]["name"]), out.type) for i, out in enumerate(schema.outputs)]
    assert [(name, kind) for name, kind, _ in rows] == outputs
    assert all(meaning for *_, meaning in rows)


@every_node
def test_pages_quote_messages_that_the_code_has(schema):
    quoted = quoted_errors(schema, "en")
    assert quoted_errors(schema, "zh") == quoted
    assert [error for error in quoted if not any(_is(message, error) for message in MESSAGES)] == []


def _is(message: re.Pattern, error: str) -> bool:
    """Whether the code says it, by itself or with the node's name put before it."""
    return bool(message.fullmatch(error) or message.fullmatch(error.partition(": ")[2]))


@every_language
def test_the_page_of_prompts_lists_what_the_bundled_network_draws(language):
    """`lumiere info` prints the words to list."""
    heading = {"en": "Words", "zh": "词汇"}[language]
    listed = " ".join(page(SCHEMAS["LumiereTextEncode"], language)[heading])
    drawn = Vocabulary.of(load_info(bundled_weights(BASE)).training).by_kind().get("things", [])
    assert [name for name in drawn if name not in listed] == []


def test_there_are_no_pages_of_other_nodes():
    files = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*") if file.is_file()}
    pages = {f"{id}{ending}" for id in SCHEMAS for ending in (".md", "/zh.md")}
    assert files == pages | {f"images/{id}.png" for id in SCHEMAS}


@every_locale
def test_locale_has_entries_for_all_there_is_and_nothing_else(language):
    entries = locale(language)
    assert list(entries) == list(SCHEMAS)
    for id, schema in SCHEMAS.items():
        assert list(entries[id]) == ["display_name", "description", "inputs", "outputs"]
        assert list(entries[id]["inputs"]) == [locale_key(id) for id in all_inputs(schema)]
        assert list(entries[id]["outputs"]) == [str(i) for i in range(len(schema.outputs))]
        for entry in (*entries[id]["inputs"].values(), *entries[id]["outputs"].values()):
            assert list(entry) == ["name", "tooltip"]
            assert entry["name"] and entry["tooltip"]


@every_node
def test_english_locale_is_the_schema(schema):
    entry = locale("en")[schema.node_id]
    assert (entry["display_name"], entry["description"]) == (schema.display_name, schema.description)
    for id, spec in all_inputs(schema).items():
        assert entry["inputs"][locale_key(id)] == {"name": spec.display_name or spec.id, "tooltip": spec.tooltip}
    for i, output in enumerate(schema.outputs):
        assert entry["outputs"][str(i)] == {"name": output.display_name, "tooltip": output.tooltip}


@every_locale
def test_locale_has_nothing_that_the_frontend_takes_for_syntax(language):
    """vue-i18n reads @ as a link, braces as a value and | as a plural; a key with a full stop is a path."""
    text = (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    assert [string for string in strings if re.search(r"[@{}|]", string)] == []
    assert [string for string in re.findall(r'"([^"]*)":', text) if "." in string] == []


@pytest.mark.parametrize("language", SCRIPTS)
def test_translations_are_translated(language):
    script = re.compile(SCRIPTS[language])
    for id, entry in locale(language).items():
        assert script.search(entry["description"]), id
        for group in ("inputs", "outputs"):
            assert [name for name, item in entry[group].items() if not script.search(item["tooltip"])] == [], id


def test_messages_name_nodes_as_the_canvas_shows_them():
    """What a message tells to wire is looked for by that name."""
    classes = "|".join(node.__name__ for node in NODES if " " in SCHEMAS[node.define_schema().node_id].display_name)
    unknown = re.compile(rf"(?<![A-Za-z])({classes})(?![A-Za-z])")
    assert [message.pattern for message in MESSAGES if unknown.search(message.pattern)] == []
