// A clip that forms in its node plays there in the canvas renderer, too, and makes room for the finished one.
//
// The samplers send animated pictures. For nodes drawn on the canvas the front end plays a picture only where the node's
// output says that it is animated, and a node that is running for the first time has none. In Nodes 2.0 the last preview
// would stay beside the finished clip.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const SAMPLERS = ["LumiereSTUNetSampler", "LumiereTemporalMultiDiffusionSSR"];
const FORMING = { images: [{ filename: "preview.png", type: "temp" }], animated: [true] }; // .webp, .png: no video

function sayAnimated({ detail }) {
    const node = app.rootGraph.getNodeById(detail.displayNodeId); // in a subgraph the front end decides
    if (SAMPLERS.includes(node?.comfyClass)) app.nodeOutputs[node.id] ??= FORMING;
}

function forget() {
    for (const [id, output] of Object.entries(app.nodeOutputs)) {
        if (output === FORMING) delete app.nodeOutputs[id];
    }
}

/** The front end's own store, which extensions have no other way to. */
function previews() {
    return document.getElementById("vue-app")?.__vue_app__?.config.globalProperties.$pinia?._s?.get("nodeOutput");
}

function makeRoom({ detail }) {
    if (detail.output?.lumiere_frames) previews()?.revokePreviewsByExecutionId?.(detail.display_node ?? detail.node);
}

app.registerExtension({
    name: "Lumiere.Preview",
    setup() {
        api.addEventListener("b_preview_with_metadata", sayAnimated);
        api.addEventListener("executed", makeRoom);
        for (const ending of ["execution_interrupted", "execution_error"]) api.addEventListener(ending, forget);
    },
});
