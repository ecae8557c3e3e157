"""A store as Ollama keeps it, made of a few bytes."""

import hashlib
import json
from pathlib import Path


class OllamaStore:
    """`root` is what OLLAMA_MODELS names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def blob(self, data: bytes) -> tuple[str, Path]:
        digest = hashlib.sha256(data).hexdigest()
        path = self.root / "blobs" / f"sha256-{digest}"
        path.write_bytes(data)
        return f"sha256:{digest}", path

    def model(self, name: str, tag: str = "latest", /, **layers: object) -> Path:
        """Write a model of these layers; returns where its manifest lies. `name` may have a host and a namespace."""
        listed = []
        for kind, content in layers.items():
            data = content if isinstance(content, bytes) else _text(content).encode()
            digest, _ = self.blob(data)
            kind_name = f"application/vnd.ollama.image.{kind}"
            listed.append({"mediaType": kind_name, "digest": digest, "size": len(data)})
        parts = name.split("/")
        place = ["registry.ollama.ai", "library"][: 3 - len(parts)] + parts
        path = self.root.joinpath("manifests", *place, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))
        return path


def _text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content)
