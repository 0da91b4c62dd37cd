"""What is not always installed: modules that an extra of impasto brings, and the one line where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from impasto.errors import MissingExtraError

#: Modules by the name they are imported by, and the extra that brings each.
EXTRAS = {
    "torch": "train",
    "onnx": "train",
    "accelerate": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "pytorch_optimizer": "train",
    "coremltools": "export",
    "executorch": "export",
    "openvino": "openvino",
    "nncf": "quantize",
    "ray": "ray",
    "pyarrow": "ray",
    "fsspec": "ray",
    "av": "video",
    "cv2": "video",
    "pyvips": "huge",
    "fastapi": "app",
    "fastapi_offline": "app",
    "h11": "app",
    "huggingface_hub": "hub",
    "prometheus_client": "app",
    "pygame": "camera",
    "pyvirtualcam": "camera",
    "uvicorn": "app",
    "aiohttp": "serve",
    "grpc_reflection": "serve",
    "pydantic": "app",
    "python_multipart": "app",
}


@contextmanager
def explain_missing(user: str, extra: str | None = None) -> Iterator[None]:
    """Has an import that fails within tell in one line who needs the module and how to install it.

    Args:
        user: what the imports are for.
        extra: what to install, whatever is missing; None leaves it to whoever is nearer to the import, and to `EXTRAS`.

    Raises:
        MissingExtraError: a module of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS or (extra is None and isinstance(error, MissingExtraError)):
            raise
        line = f"{user} needs {module}: pip install impasto[{extra or EXTRAS[module]}]"
        raise MissingExtraError(line, name=module) from None
