// A timeline in the samplers: the clip's frames, the windows that cover them, and what is given of it.
//
// The server plans it (nodes/timeline.py), with the code that plans the run. Here it is only asked for and drawn.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const SAMPLER = "LumiereSTUNetSampler";
const SSR = "LumiereTemporalMultiDiffusionSSR";
const LOADERS = ["LumiereLoadSTUNet", "LumiereLoadSSR"];
const GIVEN = "LumiereBuildConditioningMask";
const CLIPS = [GIVEN, "LumiereEmptyPixelVideo"]; // nodes whose latent is as long as their widget says
const HEIGHT = 54;
const LANES = 3; // that windows are drawn in, so that overlaps show
const PATIENCE = 200; // milliseconds without another change before the server is asked

const STRINGS = {
    en: { one: "{frames} frames at once", many: "{frames} frames, {windows} windows of {length}", unknown: "Length: after a run" },
    zh: { one: "{frames} 帧，一次生成", many: "{frames} 帧，{windows} 个窗口，每个 {length} 帧", unknown: "长度：运行后可知" },
    ja: { one: "{frames} フレームを一度に", many: "{frames} フレーム、{length} フレームのウィンドウ {windows} 個", unknown: "長さ：実行後に分かります" },
    ko: { one: "{frames}프레임을 한 번에", many: "{frames}프레임, {length}프레임 창 {windows}개", unknown: "길이: 실행 후 표시" },
};

function say(key, values = {}) {
    const strings = STRINGS[app.extensionManager.setting.get("Comfy.Locale")] ?? STRINGS.en;
    return strings[key].replace(/{(\w+)}/g, (_, name) => values[name]);
}

function value(node, name) {
    return node?.widgets?.find((widget) => widget.name === name)?.value;
}

/** The node of one of these classes that an input comes from, through nodes that pass on what is of its type. */
function source(node, input, classes) {
    const seen = new Set();
    let slot = node.inputs.findIndex((candidate) => candidate.name === input);
    const type = node.inputs[slot]?.type;
    while (slot >= 0 && !seen.has(node)) {
        seen.add(node);
        node = node.getInputNode(slot);
        if (!node || classes.includes(node.comfyClass)) return node;
        slot = node.inputs?.findIndex((candidate) => candidate.type === type) ?? -1;
    }
    return undefined;
}

/** How many frames a sampler will make: 0 leaves it to the checkpoint, undefined is for the run to tell. */
async function frames(node) {
    const seen = app.nodeOutputs?.[node.id]?.lumiere_frames?.[0];
    if (node.comfyClass === SAMPLER) {
        if (!node.inputs.find((input) => input.name === "latent")?.link) return value(node, "frames");
        return value(source(node, "latent", CLIPS), "frames") || seen; // 0 is that of a video
    }
    const sampler = source(node, "images", [SAMPLER]);
    return (sampler && (await plan(sampler))?.frames) ?? seen;
}

/** What the server says of a sampler's clip; {error} where it refuses, undefined where nothing can be asked. */
async function plan(node) {
    const checkpoint = value(source(node, "model", LOADERS), "checkpoint");
    const length = await frames(node);
    if (checkpoint === undefined || length === undefined) return undefined;
    const given = source(node, "positive", [GIVEN]);
    const query = new URLSearchParams({
        checkpoint,
        frames: length,
        ...Object.fromEntries(["window", "overlap", "loop"].map((name) => [name, value(node, name)])),
        mode: value(given, "mode") ?? "",
        indices: value(given, "mode.indices") ?? "",
        last: value(given, "mode.last") ?? 0,
    });
    const answer = await api.fetchApi(`/lumiere/timeline?${query}`);
    return await answer.json();
}

function bar(x, y, width, height, style, title) {
    return `<rect x="${x}" y="${y}" width="${width}" height="${height}" ${style}><title>${title}</title></rect>`;
}

/** The windows, in lanes below the clip; one that runs past its end goes on at its start. */
function windowBars(count, windows) {
    const lanes = Math.min(LANES, windows.length);
    return windows.flatMap(([first, end], index) => {
        const pieces = end > count ? [[first, count], [0, end - count]] : [[first, end]];
        const title = pieces.map(([from, to]) => `${from} – ${to - 1}`).join(", ");
        const y = 10 + (16 / lanes) * (index % lanes);
        const style = 'fill="#8b6fd6" fill-opacity="0.75"';
        return pieces.map(([from, to]) => bar(from, y, to - from, 16 / lanes - 1, style, title));
    });
}

function givenBars(given) {
    return given.map((share, frame) => (share ? bar(frame, 8 - 8 * share, 1, 8 * share, 'fill="#4fc3c7"', frame) : ""));
}

function draw(element, drawn) {
    const [picture, text] = element.children;
    text.style.color = drawn?.error ? "#e88" : "";
    if (!drawn || drawn.error) {
        picture.innerHTML = "";
        text.textContent = drawn?.error ?? say("unknown");
    } else {
        const { frames: count, windows, given } = drawn;
        const clip = bar(0, 0, count, 8, 'fill="currentColor" fill-opacity="0.2"', `0 – ${count - 1}`);
        picture.setAttribute("viewBox", `0 0 ${count} 26`);
        picture.innerHTML = [clip, ...givenBars(given), ...windowBars(count, windows)].join("");
        const [first, end] = windows[0];
        text.textContent = say(windows.length > 1 ? "many" : "one", { frames: count, windows: windows.length, length: end - first });
    }
    text.title = text.textContent;
}

function timelineElement() {
    const element = document.createElement("div");
    element.className = "lumiere-timeline";
    element.style.cssText = "color: var(--input-text, #ddd); font: 10px sans-serif; overflow: hidden";
    element.innerHTML =
        '<svg preserveAspectRatio="none" style="display: block; width: 100%; height: 28px"></svg>' +
        '<div style="white-space: nowrap; overflow: hidden; text-overflow: ellipsis; line-height: 15px"></div>';
    return element;
}

function addTimeline(node) {
    const element = timelineElement();
    const size = { getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT, margin: 5 };
    const widget = node.addDOMWidget("timeline", "lumiere_timeline", element, { serialize: false, hideOnZoom: false, ...size });
    widget.serialize = false; // neither in the workflow nor in what is queued
}

async function refresh() {
    if (!app.isGraphReady) return;
    for (const node of app.canvas.graph.nodes) {
        const widget = node.widgets?.find((candidate) => candidate.type === "lumiere_timeline");
        if (widget) draw(widget.element, await plan(node));
    }
}

let timer;
function refreshSoon() {
    clearTimeout(timer);
    timer = setTimeout(refresh, PATIENCE);
}

app.registerExtension({
    name: "Lumiere.Timeline",
    setup() {
        for (const event of ["graphChanged", "executed"]) api.addEventListener(event, refreshSoon);
    },
    nodeCreated(node) {
        if ([SAMPLER, SSR].includes(node.comfyClass)) {
            addTimeline(node);
            refreshSoon();
        }
    },
    afterConfigureGraph: refreshSoon,
});
