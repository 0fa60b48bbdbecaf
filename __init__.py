"""Lumiere Video: ComfyUI's door to this pack. The library is `lumiere_core`, the command line `commands`."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes.extension import LumiereExtension

    return LumiereExtension()
