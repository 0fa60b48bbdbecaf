// Values that two modes of BuildConditioningMask share (grow and feather of inpaint and region) outlive a change of the mode.
//
// The front end makes a mode's widgets anew, with their defaults, each time that it is chosen.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "LumiereBuildConditioningMask";
const remembered = new WeakMap(); // of a node: {widget's name: [the widget, its last value]}

function keep(node) {
    const last = remembered.get(node) ?? {};
    for (const widget of node.widgets.filter(({ name }) => name.startsWith("mode."))) {
        const [before, value] = last[widget.name] ?? [widget, widget.value];
        if (before !== widget) widget.value = value;
        last[widget.name] = [widget, widget.value];
    }
    remembered.set(node, last);
}

app.registerExtension({
    name: "Lumiere.Modes",
    setup() {
        api.addEventListener("graphChanged", () => {
            app.canvas.graph.nodes.filter(({ comfyClass }) => comfyClass === NODE).forEach(keep);
        });
    },
});
