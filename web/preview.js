// A clip that forms in its node plays there in the canvas renderer, too.
//
// The samplers send animated pictures. For nodes drawn on the canvas the front end plays a picture only where the node's
// output says that it is animated, and a node that is running for the first time has none.
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

app.registerExtension({
    name: "Lumiere.Preview",
    setup() {
        api.addEventListener("b_preview_with_metadata", sayAnimated);
        for (const ending of ["execution_interrupted", "execution_error"]) api.addEventListener(ending, forget);
    },
});
