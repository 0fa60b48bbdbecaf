"""The graph as a person meets it: templates opened in a browser, and run by one click.

Needs Playwright and a Chromium besides what the other tests here need: CHROMIUM names it, or it is on the path.
"""

import os
import shutil
import time

import pytest
from comfyui_server import ROOT, bare_server

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.comfyui

PACK = "lumiere-video"
TEMPLATES = sorted(path.stem for path in (ROOT / "workflows" / "api").glob("*.json"))
BLUEPRINTS = sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json"))
SAMPLERS = ("LumiereSTUNetSampler", "LumiereTemporalMultiDiffusionSSR")
LEAST_ZOOM = 0.57  # below, the front end draws no text
PATIENCE = 900  # seconds for one run, on a slow and busy machine
NODES = """() => app.graph.nodes.map((node) => ({
    type: node.comfyClass ?? node.type, red: Boolean(node.has_errors), box: [...node.pos, ...node.size],
    timeline: node.widgets?.find((widget) => widget.type === "lumiere_timeline")?.element.innerText.trim(),
    pictures: node.imgs?.map((image) => image.src) ?? [], animated: Boolean(node.animatedImages),
}))"""
QUEUED = """async () => {
    const queue = await (await fetch("/queue")).json();
    return queue.queue_running.length + queue.queue_pending.length;
}"""


class Browser:
    """A tab in which templates are opened. errors: what went wrong in our files, or was thrown by anything."""

    def __init__(self, page, address: str):
        self.page, self.address, self.errors = page, address, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._console(message))

    def _console(self, message) -> None:
        if message.type == "error" and PACK in message.location.get("url", ""):
            self.errors.append(message.text)

    def open(self, template: str) -> list[dict]:
        """The nodes of a template, as they are drawn."""
        self.errors.clear()
        self.page.goto(f"{self.address}/?template={template}&source={PACK}", timeout=120_000)
        self.page.wait_for_function("() => window.app?.graph?.nodes?.length > 3", timeout=120_000)
        self.page.wait_for_timeout(3000)  # it then fits the graph into the window
        return self.nodes()

    def nodes(self) -> list[dict]:
        return self.page.evaluate(NODES)

    def samplers(self) -> list[dict]:
        return [node for node in self.nodes() if node["type"] in SAMPLERS]

    def click_run(self) -> None:
        self.page.get_by_test_id("queue-button").click()

    def queued(self) -> int:
        return self.page.evaluate(QUEUED)

    def wait_for_the_run(self) -> None:
        self.wait(self.queued, "the job")
        self.wait(lambda: not self.queued(), "its end")
        self.page.wait_for_timeout(1000)

    @staticmethod
    def saved(server) -> set:
        """The files that were saved until now."""
        return {path for path in (server.folder / "output").rglob("*") if path.is_file()}

    def wait(self, wanted, what: str):
        deadline = time.monotonic() + PATIENCE
        while not (found := wanted()):
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.page.wait_for_timeout(300)
        return found


@pytest.fixture(scope="module")
def empty_server(comfyui_paths, tmp_path_factory):
    """A server with the pack, and no files of a user's."""
    with bare_server(*comfyui_paths, tmp_path_factory.mktemp("comfyui"), PACK) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(params=["canvas", "Nodes 2.0"])
def renderer(request) -> str:
    return request.param


@pytest.fixture
def browser(chromium, empty_server):
    page = chromium.new_page(viewport={"width": 1600, "height": 900})
    yield Browser(page, empty_server.client.address)
    page.close()


def overlapping(nodes: list[dict]) -> list[tuple[str, str]]:
    """Pairs of nodes of which one hides a part of the other; titles are 30 pixels high."""

    def apart(a, b):
        (ax, ay, aw, ah), (bx, by, bw, bh) = a["box"], b["box"]
        return ax + aw <= bx or bx + bw <= ax or ay + ah <= by - 30 or by + bh <= ay - 30

    return [(a["type"], b["type"]) for i, a in enumerate(nodes) for b in nodes[:i] if not apart(a, b)]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_opens_readable_and_without_red_nodes(browser, template):
    nodes = browser.open(template)
    assert browser.page.evaluate("() => app.canvas.ds.scale") > LEAST_ZOOM
    assert not [node["type"] for node in nodes if node["red"]]
    assert not overlapping(nodes)
    assert not browser.errors


@pytest.mark.parametrize("template", TEMPLATES)
def test_one_click_runs_a_template(browser, empty_server, template):
    before = browser.saved(empty_server)
    browser.open(template)
    browser.click_run()
    browser.wait_for_the_run()
    assert browser.saved(empty_server) > before
    assert not [node["type"] for node in browser.nodes() if node["red"]]
    assert all(sampler["animated"] and sampler["pictures"] for sampler in browser.samplers())
    assert not browser.errors


def test_the_timeline_follows_the_widgets(browser):
    browser.open("text_to_video")
    assert [node["timeline"] for node in browser.samplers()] == ["80 frames at once", "80 frames, 6 windows of 15"]
    browser.page.evaluate(
        """() => {
            const [sampler, ssr] = ["LumiereSTUNetSampler", "LumiereTemporalMultiDiffusionSSR"].map((type) =>
                app.graph.nodes.find((node) => node.comfyClass === type));
            sampler.widgets.find((widget) => widget.name === "frames").value = 28;
            ssr.widgets.find((widget) => widget.name === "overlap").value = 15;
            app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
        }"""
    )
    expected = ["28 frames at once", "window must be larger than overlap"]
    browser.wait(
        lambda: all(text in node["timeline"] for text, node in zip(expected, browser.samplers(), strict=True)),
        f"the timelines to say {expected}",
    )


def test_the_clip_plays_while_it_forms(browser, renderer):
    browser.open("base_only")
    setting = "value => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', value)"
    browser.page.evaluate(setting, renderer == "Nodes 2.0")
    browser.page.evaluate(
        """() => app.api.addEventListener("b_preview_with_metadata", async ({ detail }) => {
            window.previewed = new TextDecoder("latin1").decode(await detail.blob.slice(0, 64).arrayBuffer());
        })"""
    )
    browser.page.wait_for_timeout(2000)
    browser.click_run()
    preview = browser.page.locator("img[src^='blob:']").first
    browser.wait(preview.is_visible, "a preview in an element of its own, which the browser plays")
    assert "acTL" in browser.page.evaluate("() => window.previewed")  # it is an animated PNG
    browser.wait(lambda: not browser.queued(), "the run's end")
    browser.page.evaluate(setting, False)


@pytest.mark.parametrize(
    "app, inputs",
    [("text_to_video", ["Prompt", "Seed", "Frames"]), ("image_to_video", ["Sample picture", "Your own picture"])],
)
def test_an_app_shows_its_inputs_and_runs(browser, empty_server, app, inputs):
    browser.open(f"{app}.app")
    shown = browser.page.locator("body").inner_text()
    assert all(name in shown for name in inputs)
    before = browser.saved(empty_server)
    browser.page.evaluate("() => app.queuePrompt(0)")  # a tour of the front end's own lies over its button
    browser.wait_for_the_run()
    assert browser.saved(empty_server) > before
    assert not browser.errors


# Puts a blueprint onto an empty canvas, as the node library does, and what saves its video and brings a clip beside it.
PLACE = """async ([name, frames]) => {
    const all = await (await fetch("/global_subgraphs")).json();
    const [id] = Object.entries(all).find(([, entry]) => entry.name === name);
    const { data } = await (await fetch(`/global_subgraphs/${id}`)).json();
    await app.loadGraphData(JSON.parse(data));
    const [blueprint] = app.graph.nodes;
    const add = (type) => { const node = LiteGraph.createNode(type); app.graph.add(node); return node; };
    blueprint.connect(0, add("SaveVideo"), 0);
    const slot = blueprint.inputs.findIndex((input) => ["image", "video"].includes(input.name));
    if (slot >= 0) {
        const media = add("LumiereSampleMedia");
        const image = blueprint.inputs[slot].name === "image";
        media.widgets.find((widget) => widget.name === "sample").value = image ? "picture" : "small video";
        const video = add("CreateVideo");
        if (image) media.connect(0, blueprint, slot);
        else { media.connect(0, video, 0); video.connect(0, blueprint, slot); }
        if (image) app.graph.remove(video);
    }
    for (const widget of blueprint.widgets) if (widget.name in frames) widget.value = frames[widget.name];
}"""


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_a_blueprint_is_in_the_library_runs_and_is_kept(browser, empty_server, blueprint):
    browser.open("base_only")
    few = {"frames": 8, "steps": 2}
    browser.page.evaluate(PLACE, [blueprint, few])
    widgets = "() => app.graph.nodes[0].widgets.map((widget) => [widget.name, widget.value])"
    before, values = browser.saved(empty_server), browser.page.evaluate(widgets)
    assert ["steps", 2] in values
    browser.page.evaluate("() => app.queuePrompt(0)")
    browser.wait_for_the_run()
    assert browser.saved(empty_server) > before
    browser.page.evaluate("async () => await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    assert browser.page.evaluate(widgets) == values
    assert not browser.errors


def test_what_two_modes_share_outlives_a_change_of_the_mode(browser):
    browser.open("video_inpainting")
    said = """([name, value]) => {
        const node = app.graph.nodes.find((candidate) => candidate.comfyClass === "LumiereBuildConditioningMask");
        const widget = node.widgets.find((candidate) => candidate.name === name);
        if (value !== undefined) {
            widget.value = value;
            widget.callback?.(value);
            app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
        }
        return widget?.value;
    }"""
    browser.page.evaluate(said, ["mode.grow", 3])
    for mode in ("first_frame", "region"):
        browser.page.evaluate(said, ["mode", mode])
        browser.page.wait_for_timeout(500)
    assert browser.page.evaluate(said, ["mode.grow"]) == 3
