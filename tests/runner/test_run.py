"""`lumiere run`: graphs run without ComfyUI, files carry their workflow, bad input is one line and leaves nothing."""

import copy
import gc
import json
import re
import weakref
from types import SimpleNamespace

import av
import pytest
import torch
from odd_files import encoded, plain
from PIL import Image

from lumiere_video.commands import main as cli
from lumiere_video.commands import run as run_command
from lumiere_video.lumiere_core.runtime import memory
from lumiere_video.lumiere_core.video.files import read_video, to_uint8, write_video
from lumiere_video.nodes.host.standalone import io
from lumiere_video.nodes.host.standalone.models import Settings, using
from lumiere_video.runner import run
from lumiere_video.runner.core_nodes import CORE_NODES


def api(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


COPY = {"1": api("LoadImage", image="a.png"), "2": api("SaveImage", images=["1", 0], filename_prefix="copy")}
SAMPLER = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler": "euler", "scheduler": "normal", "denoise": 1.0, "frames": 2}
SAMPLER |= {"width": 0, "height": 0, "keep_known": True, "window": 0, "overlap": -1, "fuse": "flat", "loop": False}
SSR = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler": "euler", "scheduler": "normal", "window": 0, "overlap": -1}
SSR |= {"fuse": "flat", "noise_level": -1, "loop": False, "tile": 0, "tile_overlap": 0}
WEBP = {"filename_prefix": "clip", "fps": 8.0, "lossless": True, "quality": 80, "method": "fastest"}
GENERATE = {
    "1": api("LumiereLoadSTUNet", checkpoint="base.safetensors", dtype="float32"),
    "2": api("LumiereTextEncode", clip=["1", 1], text="a red circle"),
    "3": api("CLIPTextEncode", clip=["1", 1], text=""),
    "4": api("LumiereSTUNetSampler", model=["1", 0], positive=["2", 0], negative=["3", 0], **SAMPLER),
    "5": api("CreateVideo", images=["4", 0], fps=["4", 2]),
    "6": api("SaveVideo", video=["5", 0], filename_prefix="video/clip", format="auto", **{"format.codec": "auto"}),
}
LARGE = {
    **{id: GENERATE[id] for id in "1234"},
    "5": api("LumiereLoadSSR", checkpoint="ssr.safetensors", dtype="float32"),
    "6": api(
        "LumiereTemporalMultiDiffusionSSR",
        model=["5", 0],
        positive=["2", 0],
        negative=["3", 0],
        images=["4", 0],
        **SSR,
    ),
    "7": api("SaveAnimatedWEBP", images=["6", 0], **WEBP),
    "8": api("PreviewImage", images=["6", 0]),
}


def canvas_node(id, type, widgets, inputs=(), **fields):
    sockets = [{"name": name, "type": "*", "link": link} for name, link in inputs]
    return {"id": id, "type": type, "mode": 0, "inputs": sockets, "widgets_values": widgets, **fields}


CANVAS = {
    "nodes": [
        canvas_node(9, "MarkdownNote", ["Read me."]),
        canvas_node(6, "SaveVideo", ["video/clip", "auto", "auto"], [("video", 8)]),
        canvas_node(1, "LumiereLoadSTUNet", ["base.safetensors", "float32"]),
        canvas_node(2, "LumiereTextEncode", ["a red circle"], [("clip", 1)]),
        canvas_node(3, "CLIPTextEncode", [""], [("clip", 2)]),
        canvas_node(
            4,
            "LumiereSTUNetSampler",
            [1, "randomize", 2, 2.0, "euler", "normal", 1.0, 2, 0, 0, True, 0, -1, "flat", False],
            [("model", 3), ("positive", 4), ("negative", 5), ("latent", None)],
        ),
        canvas_node(5, "CreateVideo", [30, 8], [("images", 6), ("audio", None), ("fps", 7)]),
    ],
    "links": [
        [1, 1, 1, 2, 0, "CLIP"],
        [2, 1, 1, 3, 0, "CLIP"],
        [3, 1, 0, 4, 0, "MODEL"],
        [4, 2, 0, 4, 1, "CONDITIONING"],
        [5, 3, 0, 4, 2, "CONDITIONING"],
        [6, 4, 0, 5, 0, "IMAGE"],
        [7, 4, 2, 5, 2, "FLOAT"],
        [8, 5, 0, 6, 0, "VIDEO"],
    ],
    "version": 0.4,
}
COPY_CANVAS = {
    "nodes": [
        canvas_node(1, "LoadImage", ["a.png", "image"]),
        canvas_node(2, "SaveImage", ["copy"], [("images", 1)]),
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


@pytest.fixture
def lumiere(tiny, tmp_path, capsys):
    """Run `lumiere run` on a graph in a fresh folder: (exit code, lines printed, errors, files written)."""
    out, media = tmp_path / "out", tmp_path / "media"
    media.mkdir()
    pixels = torch.randint(0, 256, (6, 10, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.numpy()).save(media / "a.png")
    (tmp_path / "outside.png").write_bytes((media / "a.png").read_bytes())

    def lumiere(graph, *options):
        path = tmp_path / "graph.json"
        path.write_text(graph if isinstance(graph, str) else json.dumps(graph), encoding="utf-8")
        command = ["run", str(path), "--input", str(media), "--output", str(out), "--models", str(tiny.base.parent)]
        code = cli.main([*command, "--device", "cpu", *options])
        printed = capsys.readouterr()
        errors = [line for line in printed.err.splitlines() if line and "%|" not in line]  # but for bars
        files = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
        lines = printed.out.splitlines()
        return SimpleNamespace(code=code, lines=lines, errors=errors, files=files, bars=printed.err)

    lumiere.out, lumiere.media = out, media
    return lumiere


def changed(graph, **nodes):
    """The graph with inputs changed or, where None, removed: changed(COPY, n2={"images": None})."""
    graph = copy.deepcopy(graph)
    for key, inputs in nodes.items():
        given = graph[key[1:]]["inputs"] | inputs
        graph[key[1:]]["inputs"] = {name: value for name, value in given.items() if value is not None}
    return graph


def mp4_metadata(path):
    import av

    with av.open(str(path)) as container:
        return {key: json.loads(container.metadata[key]) for key in ("prompt", "workflow") if key in container.metadata}


def test_a_graph_becomes_a_video_that_carries_it(lumiere):
    done = lumiere(GENERATE)
    assert (done.code, done.errors, done.files) == (0, [], ["video/clip_00001_.mp4"])
    assert done.lines == [str(lumiere.out / "video/clip_00001_.mp4")]
    frames, fps = read_video(done.lines[0])
    assert frames.shape == (2, 8, 8, 3) and fps == 16  # the fps that the checkpoint names, not CreateVideo's 30
    assert mp4_metadata(done.lines[0]) == {"prompt": GENERATE}
    assert lumiere(GENERATE).files == ["video/clip_00001_.mp4", "video/clip_00002_.mp4"]


def test_a_canvas_file_is_the_same_graph(lumiere):
    done = lumiere(CANVAS, "--set", "4.seed=7")
    assert done.code == 0, done.errors
    expected = changed(GENERATE, n4={"seed": 7}, n5={"bit_depth": 8})  # the canvas saves widgets that are optional, too
    metadata = mp4_metadata(done.lines[0])
    assert metadata["prompt"] == expected
    sampler = next(node for node in metadata["workflow"]["nodes"] if node["id"] == 4)
    assert sampler["widgets_values"] == [7, "fixed", *CANVAS["nodes"][5]["widgets_values"][2:]]
    sampler["widgets_values"] = CANVAS["nodes"][5]["widgets_values"]
    assert metadata["workflow"] == CANVAS
    again = lumiere(expected)
    assert torch.equal(read_video(done.lines[0])[0], read_video(again.lines[0])[0])


def test_super_resolution_as_webp_and_as_previews(lumiere):
    done = lumiere(LARGE)
    assert done.code == 0, done.errors
    previews = ["preview/ComfyUI_00001_.png", "preview/ComfyUI_00002_.png"]
    assert done.files == ["clip_00001_.webp", *previews]
    with Image.open(lumiere.out / "clip_00001_.webp") as image:
        assert (image.n_frames, image.size) == (2, (32, 32))
        key, _, text = image.getexif()[0x0110].partition(":")
    assert (key, json.loads(text)) == ("prompt", LARGE)
    with Image.open(lumiere.out / previews[1]) as image:
        assert json.loads(image.text["prompt"]) == LARGE and "workflow" not in image.text


def test_the_seed_is_what_is_set(lumiere):
    graph = changed(LARGE, n7={"images": ["4", 0]})
    del graph["8"]
    clips = []
    for options in (["--set", "4.seed=5"], ["--set", "4.seed=5"], ["--set", "4.seed=6", "--set", "4.steps=3"]):
        clips.append(read_video(lumiere(graph, *options).lines[0])[0])
    assert torch.equal(clips[0], clips[1]) and not torch.equal(clips[0], clips[2])


def test_images_come_through_unchanged_with_canvas_and_graph(lumiere):
    done = lumiere(COPY_CANVAS)
    assert (done.code, done.files) == (0, ["copy_00001_.png"])
    with Image.open(lumiere.media / "a.png") as before, Image.open(done.lines[0]) as after:
        assert before.tobytes() == after.tobytes()
        assert json.loads(after.text["workflow"]) == COPY_CANVAS and json.loads(after.text["prompt"]) == COPY


def test_a_webp_carries_the_canvas(lumiere):
    node = canvas_node(2, "SaveAnimatedWEBP", list(WEBP.values()), [("images", 1)])
    canvas = {**COPY_CANVAS, "nodes": [COPY_CANVAS["nodes"][0], node]}
    with Image.open(lumiere(canvas).lines[0]) as image:
        assert image.getexif()[0x010F] == f"workflow:{json.dumps(canvas)}"


def test_alpha_becomes_the_mask_and_animations_give_all_frames(lumiere):
    from lumiere_video.runner.core_nodes import _read_image

    images, mask = _read_image(lumiere.media / "a.png")
    assert images.shape == (1, 6, 10, 3) and torch.equal(mask, torch.zeros(1, 64, 64))
    rgba = torch.tensor([[[255, 0, 0, 255], [0, 255, 0, 51]]], dtype=torch.uint8)
    Image.fromarray(rgba.numpy()).save(lumiere.media / "alpha.png")
    images, mask = _read_image(lumiere.media / "alpha.png")
    assert to_uint8(images)[0].tolist() == rgba[..., :3].tolist()
    assert torch.allclose(mask, torch.tensor([[[0.0, 0.8]]]))
    write_video(lumiere.media / "a.webp", torch.rand(3, 6, 10, 3), 10)
    assert _read_image(lumiere.media / "a.webp")[0].shape == (3, 6, 10, 3)


VIDEO_COPY = {
    "1": api("LoadVideo", file="a.mp4"),
    "2": api("GetVideoComponents", video=["1", 0]),
    "3": api("CreateVideo", images=["2", 0], audio=["2", 1], fps=["2", 2]),
    "4": api("SaveVideo", video=["3", 0], filename_prefix="copy", format="mp4", codec="auto"),  # core's older form
}


def test_videos_come_in_and_out(lumiere):
    frames = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 16, 16, 3)
    write_video(lumiere.media / "a.mp4", frames, 12)
    done = lumiere(VIDEO_COPY)
    assert (done.code, done.errors) == (0, [])
    copied, fps = read_video(done.lines[0])
    assert fps == 12 and (copied - frames).abs().max() < 0.02
    listed = lumiere(VIDEO_COPY, "--list").lines
    assert "  4.format.codec=auto  (one of auto, h264)" in listed


@pytest.mark.parametrize(
    ("pixels", "transfer", "expected"),
    [
        ("yuv420p", None, (8, "sRGB")),
        ("yuv420p", 1, (8, "sRGB")),
        ("yuv420p10le", None, (10, "sRGB")),
        ("yuv420p10le", 16, (10, "HDR PQ")),
        ("yuv420p10le", 18, (10, "HDR")),
    ],
)
def test_videos_say_how_deep_they_are_and_in_which_colours(lumiere, pixels, transfer, expected):
    encoded(lumiere.media / "a.mp4", plain(16, 16), pixels=pixels, transfer=transfer)
    nodes = {node.define_schema().node_id: node for node in CORE_NODES}
    with using(Settings(input=lumiere.media)):
        (video,) = nodes["LoadVideo"].execute("a.mp4").args
        assert nodes["GetVideoComponents"].execute(video).args[3:] == expected


def test_a_depth_that_cannot_be_written_is_said(lumiere):
    encoded(lumiere.media / "a.mp4", plain(16, 16), pixels="yuv420p10le")
    graph = VIDEO_COPY | {"3": api("CreateVideo", images=["2", 0], fps=["2", 2], bit_depth=["2", 3])}
    done = lumiere(graph)
    assert done.code == 0 and "videos are written with 8 bits a channel here, not 10" in done.errors[0]


def test_stitching_without_end_ends_where_the_memory_does(lumiere, monkeypatch):
    """Each node doubles the last one's image."""
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**6)
    stitch = {"direction": "right", "match_image_size": True, "spacing_width": 0, "spacing_color": "white"}
    graph = {"1": COPY["1"], "99": api("SaveImage", images=["30", 0], filename_prefix="copy")}
    graph |= {
        f"{i}": api("ImageStitch", image1=[f"{i - 1}", 0], image2=[f"{i - 1}", 0], **stitch) for i in range(2, 31)
    }
    assert_refused(lumiere(graph), r"node 11 \(ImageStitch\): A stitched image of 1 frames, 10240 x 6 pixels, needs")


@pytest.mark.parametrize(
    ("save", "names"),
    [
        (api("SaveImage", images=["1", 0], filename_prefix="clip"), ["clip_00001_.png", "clip_00002_.png"]),
        (api("SaveAnimatedWEBP", images=["1", 0], **WEBP), ["clip_00001_.webp", "clip_00002_.webp"]),
        (
            api("SaveVideo", video=["3", 0], filename_prefix="clip", format="auto"),
            ["clip_00001_.mp4", "clip_00002_.mp4"],
        ),
    ],
)
def test_a_name_that_another_run_takes_meanwhile_is_left_to_it(lumiere, monkeypatch, save, names):
    def while_another_run_ends(write):
        def wrapped(*given, **options):
            (lumiere.out / names[0]).write_bytes(b"of another run")
            return write(*given, **options)

        return wrapped

    monkeypatch.setattr(Image.Image, "save", while_another_run_ends(Image.Image.save))
    monkeypatch.setattr("av.open", while_another_run_ends(av.open))
    lumiere.out.mkdir()
    done = lumiere({"1": COPY["1"], "2": save, "3": api("CreateVideo", images=["1", 0], fps=8)})
    assert (done.code, done.files, done.lines) == (0, names, [str(lumiere.out / names[1])]), done
    assert (lumiere.out / names[0]).read_bytes() == b"of another run"
    assert len(read_video(done.lines[0])[0]) == 1


def test_list_says_what_can_be_set(lumiere):
    done = lumiere(CANVAS, "--list", "--set", "4.loop=true")
    assert (done.code, done.files) == (0, [])
    sampler = done.lines[done.lines.index("4 LumiereSTUNetSampler") + 1 :]
    assert "  4.seed=1  (a whole number from 0 to 18446744073709551615)" in sampler
    assert "  4.scheduler=normal  (one of normal, simple, sgm_uniform, karras, leading, kl_optimal)" in sampler
    assert "  4.loop=true  (true or false)" in sampler
    assert "  2.text=a red circle  (text)" in done.lines
    assert not [line for line in done.lines if "fps" in line or "model" in line.split("=")[0]]  # linked, and a socket


CYCLE = changed(GENERATE, n4={"latent": ["7", 0]}) | {"7": api("LumiereFramesToLatent", images=["4", 0])}
BAD_GRAPHS = [
    ("{", "graph.json: not a JSON file .Expecting property name"),
    ("[" * 100_000, "graph.json: not a JSON file"),
    ('{"a": ' * 200 + "1" + "}" * 200, "graph.json: .* nested at most 100 deep; got 200"),
    (
        '{"1": {"class_type": "LoadImage", "inputs": {}}, "1": {"class_type": "SaveImage", "inputs": {}}}',
        "graph.json: not a JSON file .the key '1' is there twice",
    ),
    (changed(COPY, n2={"filename_prefix": "a" * 10**5}), "File name too long"),
    (changed(COPY, n2={"filename_prefix": ["1", "0"]}), r'must be a value or a link such as .*; got \["1", "0"\]'),
    (changed(GENERATE, n2={"text": "\udcff"}), "text must be text that UTF-8 can hold; got '.udcff'"),
    (changed(GENERATE, n4={"sampler": "a" * 10**6}), "sampler must be one of euler, .*; got 'aaaa.{10,60}$"),
    ("[]", "graph.json: not a workflow. It must hold nodes with class_type"),
    ("{}", "graph.json: not a workflow"),
    ({"1": {"class_type": "LoadImage"}}, "graph.json: not a workflow"),
    (COPY | {"3": api("KSampler")}, r"node 3 \(KSampler\): only ComfyUI can run this class. Here are CLIPTextEncode,"),
    ({"1": COPY["1"]}, "the workflow has no node that writes a file. Add SaveVideo"),
    (changed(COPY, n2={"images": None}), r"node 2 \(SaveImage\): images is missing; give a link to .* type IMAGE"),
    (changed(COPY, n2={"filename_prefix": None}), r"node 2 \(SaveImage\): filename_prefix is missing; give text"),
    (changed(COPY, n2={"images": ["9", 0]}), r"node 2 \(SaveImage\): images is linked to node 9, which is not in"),
    (changed(COPY, n2={"images": ["1", 2]}), r"linked to output 2 of node 1 \(LoadImage\), whose outputs are 0 to 1"),
    (changed(COPY, n2={"images": ["1", -1]}), "linked to output -1 of node 1"),
    (changed(COPY, n2={"images": ["1", 1]}), r"node 2 \(SaveImage\): images must be IMAGE; got MASK from node 1 .Load"),
    (changed(COPY, n2={"images": ["1"]}), r'images must be a value or a link such as .*; got \["1"\]'),
    (changed(COPY, n2={"images": 5}), "images must be a link to an output of type IMAGE; got 5"),
    (
        changed(COPY, n2={"filename_prefix": "../a"}),
        r"\(SaveImage\): filename_prefix must name a file in .*; got '../a'",
    ),
    (changed(COPY, n2={"filename_prefix": "/a"}), "filename_prefix must name a file in the folder"),
    (changed(COPY, n2={"filename_prefix": "a/"}), "filename_prefix must name a file in the folder"),
    (changed(COPY, n2={"filename_prefix": ""}), "filename_prefix must name a file in the folder"),
    (
        changed(COPY, n1={"image": "../outside.png"}),
        r"node 1 \(LoadImage\): image .* '../outside.png', which is outside",
    ),
    (changed(COPY, n1={"image": "b.png"}), "image must be a file in the folder .*; got 'b.png', which is not there"),
    (changed(COPY, n1={"image": 3}), "image must be a file in the input folder, such as a.png; got 3"),
    (changed(GENERATE, n6={"format": "mkv"}), r"node 6 \(SaveVideo\): format must be one of auto, mp4; got 'mkv'"),
    (changed(GENERATE, n6={"format.codec": "av1"}), "format.codec must be one of auto, h264; got 'av1'"),
    (
        changed(GENERATE, n4={"steps": 0}),
        r"\(LumiereSTUNetSampler\): steps must be a whole number from 1 to 1000; got 0",
    ),
    (changed(GENERATE, n4={"steps": 2.5}), "steps must be a whole number from 1 to 1000; got 2.5"),
    (changed(GENERATE, n4={"steps": True}), "steps must be a whole number from 1 to 1000; got True"),
    (changed(GENERATE, n4={"cfg": float("nan")}), "cfg must be a number from 0.0 to 100.0; got nan"),
    (changed(GENERATE, n4={"cfg": 10**400}), "cfg must be a number from 0.0 to 100.0; got 1000"),
    (changed(GENERATE, n4={"loop": 1}), "loop must be true or false; got 1"),
    (changed(GENERATE, n4={"sampler": "ddim"}), "sampler must be one of euler, .*; got 'ddim'"),
    (changed(GENERATE, n4={"sampler": {"a": 1}}), "sampler must be one of euler, .*; got {'a': 1}"),
    (changed(GENERATE, n2={"text": 5}), r"node 2 \(LumiereTextEncode\): text must be text; got 5"),
    (
        changed(GENERATE, n1={"checkpoint": "ssr.safetensors"}),
        "checkpoint must be one of base.safetensors, .*; got 'ssr",
    ),
    (
        changed(GENERATE, n4={"window": 4, "overlap": 4}),
        r"node 4 \(LumiereSTUNetSampler\): STUNet Sampler: .*got window 4 and ov",
    ),
    (CYCLE, r"cycle: node [47] \(\w+\) -> node [47] \(\w+\) -> node [47] \(\w+\). Remove one of its links"),
]


@pytest.mark.parametrize(("graph", "message"), BAD_GRAPHS, ids=[message[:40] for _, message in BAD_GRAPHS])
def test_bad_graphs(lumiere, graph, message):
    assert_refused(lumiere(graph), message)


@pytest.mark.parametrize("graph", [COPY, COPY_CANVAS], ids=["api", "canvas"])
def test_a_byte_order_mark_is_skipped(lumiere, graph):
    """Editors on Windows write it."""
    assert lumiere("\ufeff" + json.dumps(graph)).files == ["copy_00001_.png"]


def test_a_file_that_is_not_text(lumiere, tmp_path):
    assert_refused(lumiere(COPY, "--input", str(tmp_path / "none")), "the input folder .*none is not there")
    assert cli.main(["run", str(lumiere.media / "a.png")]) == 2
    assert cli.main(["run", str(tmp_path / "none.json")]) == 2


def canvas(**fields):
    return {**COPY_CANVAS, **fields}


LOAD, SAVE = COPY_CANVAS["nodes"]
BAD_CANVASES = [
    (canvas(definitions={"subgraphs": [{"id": "x"}]}), "it has subgraphs, which only ComfyUI runs"),
    (
        canvas(nodes=[LOAD, SAVE, canvas_node(3, "Reroute", [])]),
        r"node 3 \(Reroute\): reroutes are run by ComfyUI only",
    ),
    (canvas(nodes=[{**LOAD, "mode": 2}, SAVE]), r"node 1 \(LoadImage\) is muted, which only ComfyUI runs"),
    (canvas(nodes=[{**LOAD, "mode": 4}, SAVE]), r"node 1 \(LoadImage\) is bypassed"),
    (canvas(nodes=[LOAD, SAVE, canvas_node(3, "VAEDecode", [])]), r"node 3 \(VAEDecode\): only ComfyUI can run"),
    (canvas(links=[]), r"node 2 \(SaveImage\): images has the link 1, which is not in the file"),
    (canvas(nodes=[SAVE]), r"node 2 \(SaveImage\): images is linked to node 1, which is not in the file"),
    (canvas(links=[{"id": 1}]), "no nodes and links as ComfyUI saves them, in version 0.4"),
    (canvas(nodes=[5]), "no nodes and links as ComfyUI saves them"),
    (canvas(links=[[1, 1, "0", 2, 0, "IMAGE"]]), "link 1 must come from a numbered output of a node; got output '0'"),
    (canvas(links=[[1, 1, None, 2, 0, "IMAGE"]]), "link 1 must come from a numbered output of a node; got output None"),
    (canvas(links=[[1, 1, True, 2, 0, "IMAGE"]]), "link 1 must come from a numbered output of a node; got output True"),
    (canvas(links=[[1, 1, 0, 2, 0, "IMAGE"], [1, 2, 0, 1, 0, "IMAGE"]]), "two links have the id 1"),
    (canvas(nodes=[LOAD, SAVE, {**SAVE, "id": 1}]), "two nodes have the id 1. Give each an id of its own"),
    (canvas(nodes=[LOAD, SAVE, {**SAVE, "id": "2"}]), "two nodes have the id 2"),
    (canvas(nodes=[LOAD, {**SAVE, "widgets_values": ["a\ud800"]}]), "filename_prefix must be text that UTF-8 can hold"),
    (canvas(nodes=[{**LOAD, "widgets_values": {"image": "a.png"}}, SAVE]), "widgets_values must be a list"),
]


@pytest.mark.parametrize(("graph", "message"), BAD_CANVASES, ids=[message[:40] for _, message in BAD_CANVASES])
def test_bad_canvases(lumiere, graph, message):
    assert_refused(lumiere(graph), f"graph.json: .*{message}|{message}")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", "--set takes NODE.INPUT=VALUE, such as 3.seed=5; got 'seed'"),
        ("4seed=5", "--set takes NODE.INPUT=VALUE"),
        ("9.seed=5", r"there is no node 9; nodes are node 1 \(LumiereLoadSTUNet\), node 2"),
        ("4.sed=5", r"node 4 \(LumiereSTUNetSampler\): sed is nothing that can be set; seed, steps, cfg, .* can be"),
        ("4.latent=5", "latent is nothing that can be set"),
        ("5.fps=5", r"node 5 \(CreateVideo\): fps is linked to node 4; bit_depth can be"),
        ("4.steps=many", r"node 4 \(LumiereSTUNetSampler\): steps must be a whole number from 1 to 1000; got 'many'"),
        ("4.steps=0", "steps must be a whole number from 1 to 1000; got 0"),
        ("4.loop=yes", "loop must be true or false; got 'yes'"),
        ("4.cfg=nan", "cfg must be a number from 0.0 to 100.0; got nan"),
        ("6.format=mkv", "format must be one of auto, mp4; got 'mkv'"),
    ],
)
def test_bad_assignments(lumiere, assignment, message):
    assert_refused(lumiere(GENERATE, "--set", assignment), message)


@pytest.mark.parametrize("option", ["--list", "--set=1.image=a.png"])
def test_it_is_not_for_comfyuis_own_folder(lumiere, monkeypatch, option):
    monkeypatch.setattr(run_command, "find_spec", lambda name: name)
    assert_refused(lumiere(COPY, option), "ComfyUI is found from here .installed, or in this folder.")


def test_devices_and_output_folders_are_tried_before_anything_runs(lumiere, tmp_path):
    assert_refused(lumiere(COPY, "--device", "tpu9"), "device must be auto, cpu")
    assert_refused(lumiere(COPY, "--output", str(lumiere.media / "a.png")), "cannot write into")


def test_results_are_dropped_after_their_last_reader_and_idle_nodes_do_not_run(tmp_path, monkeypatch):
    made, alive = [], []

    class Make(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema("Make", inputs=[io.Image.Input("images", optional=True)], outputs=[io.Image.Output()])

        @classmethod
        def execute(cls, images=None):
            gc.collect()
            alive.append([reference() is not None for reference in made])
            result = torch.zeros(1)
            made.append(weakref.ref(result))
            return io.NodeOutput(result)

    class End(Make):
        @classmethod
        def define_schema(cls):
            return io.Schema("End", inputs=[io.Image.Input("images")], is_output_node=True)

    graph = {"1": api("Make"), "2": api("Make", images=["1", 0]), "3": api("Make", images=["2", 0])}
    graph |= {"4": api("End", images=["3", 0]), "5": api("Make", images=["5", 0])}  # no output needs 5, a cycle
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    monkeypatch.setattr(run, "CLASSES", [Make, End])
    assert run.run_workflow(path, [], Settings(device="cpu", output=tmp_path)) == []
    assert alive == [[], [True], [False, True], [False, False, True]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"window": 4, "overlap": 4}, "window must be larger than overlap"),
        ({"tile": 4, "tile_overlap": 4}, "tile must be larger than tile_overlap"),
        ({"original": ["9", 0]}, "original and mask go together"),
    ],
)
def test_super_resolution_that_cannot_be_is_refused_before_the_base_is_sampled(lumiere, changes, message):
    graph = changed(LARGE, n6=changes) | {"9": api("LoadImage", image="a.png")}
    ended = lumiere(graph)
    assert_refused(ended, f"Temporal MultiDiffusion SSR: .*{message}")
    assert "STUNet Sampler" not in ended.bars


def test_what_fails_in_a_node_names_it(lumiere, monkeypatch):
    def fail(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("lumiere_video.runner.core_nodes._read_image", fail)
    assert_refused(lumiere(COPY), r"^lumiere: error: node 1 \(LoadImage\): two lines$")


def test_ctrl_c_while_writing_leaves_nothing(lumiere, monkeypatch):
    def press(image, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", press)
    done = lumiere(COPY)
    assert (done.code, done.errors, done.files) == (130, ["lumiere: interrupted"], [])


def assert_refused(done, message):
    assert (done.code, done.lines, done.files, len(done.errors)) == (2, [], [], 1), done
    assert done.errors[0].startswith("lumiere: error: ") and re.search(message, done.errors[0]), done.errors[0]
