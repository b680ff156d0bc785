"""The articles' pictures: a few strokes each."""

from __future__ import annotations

from typing import Final

from connector.demo.wares import WARES

_STROKES: Final = {
    "scarf": '<path d="M34 22h20v76l-10 8-10-8zM58 26h28v14H58zM74 40h12v46l-6 8-6-8z"/>',
    "shirt": '<path d="M44 20 22 34l8 18 10-6v54h40V46l10 6 8-18-22-14c-4 8-28 8-32 0z"/>',
    "lamp": '<path d="M36 92h44v8H36zM54 54h6v38h-6zM40 22h36l12 32H28z"/>',
    "kettle": '<path d="M34 50c0-14 52-14 52 0l6 40c0 12-64 12-64 0zM84 58l18-12-6 26zM48 38c0-18 24-18 24 0h-6c0-10-12-10-12 0z"/>',
    "mug": '<path d="M30 36h48v54c0 8-48 8-48 0zM78 46c22 0 22 32 0 32v-8c12 0 12-16 0-16z"/>',
    "chair": '<path d="M36 16h8v84h-8zM76 60h8v40h-8zM36 24h36v8H36zM36 40h36v8H36zM36 56h48v10H36z"/>',
    "rug": '<path d="M24 36h72v50H24zM18 40h4v6h-4zM18 58h4v6h-4zM18 76h4v6h-4zM98 40h4v6h-4zM98 58h4v6h-4zM98 76h4v6h-4z"/>',
    "soap": '<path d="M30 52c0-10 60-10 60 0v26c0 10-60 10-60 0zM46 36a6 6 0 1 1 0-1zM66 28a9 9 0 1 1 0-1z"/>',
    "card": '<path d="M22 36h76v50H22zm0 12v10h76V48z" fill-rule="evenodd"/>',
    "poster": '<path d="M34 18h52v84H34zm8 8v44h36V26zm0 52v6h24v-6z" fill-rule="evenodd"/>',
}


def drawn(path: str) -> bytes | None:
    """The SVG that lies under a path of the shop; None: there is none."""
    name = path.rpartition("/")[2]
    ware = next((ware for ware in WARES if name == f"{ware.sku.lower()}.svg"), None)
    if ware is None:
        return None
    light, dark = ware.colours
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120" width="240" height="240">'
        f'<rect width="120" height="120" fill="{light}"/><g fill="{dark}">{_STROKES[ware.shape]}</g></svg>'
    ).encode()
