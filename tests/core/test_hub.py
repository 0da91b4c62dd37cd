"""Models on the Hugging Face Hub, against a server on this machine that speaks as much of its API as is asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from impasto.model import find_model

pytest.importorskip("huggingface_hub", reason="comes with impasto[hub]")

#: Runs expressions one after the other, and prints what each gives or the error it raises.
CODE = """
import json, sys
import impasto
from impasto.model import find_model
def paint(model):
    import numpy as np
    return np.asarray(model.stylize(np.full((32, 48, 3), 90, np.uint8), "munch-scream")).ravel().tolist()
said = []
for step in sys.argv[1:]:
    try:
        value = eval(step)
        said.append(value if isinstance(value, list) else str(value))
    except impasto.ImpastoError as error:
        said.append(f"ImpastoError: {error}")
print(json.dumps(said))
"""


class Hub(ThreadingHTTPServer):
    """Repositories by name: each the files of its commits, the newest last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        commits = self.repositories.setdefault(name, {})
        oid = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[oid] = {**(list(commits.values()) or [{}])[-1], **files}
        return oid


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def answer(self, value: Any = b"", status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that is meant; None, once the client is told, where there is none."""
        commits = self.server.repositories.get(name)
        if commits is None:
            return self.refuse(404, "RepoNotFound")
        oid = list(commits)[-1] if revision == "main" else revision
        return (oid, commits[oid]) if oid in commits else self.refuse(404, "RevisionNotFound")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            name, what, revision = found.groups()
            if commit := self.find(name, revision):
                oid, files = commit
                tree = [
                    {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for file, data in files.items()
                ]
                self.answer(tree if what == "tree" else {"id": name, "sha": oid, "siblings": []})
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = found.groups()
            if commit := self.find(name, revision):
                oid, files = commit
                if file not in files:
                    self.refuse(404, "EntryNotFound")
                    return
                if self.command == "GET":
                    self.server.fetched.append(file)
                etag = f'"{hashlib.sha1(files[file]).hexdigest()}"'
                self.answer(files[file], ETag=etag, X_Repo_Commit=oid, Accept_Ranges="bytes")
        else:
            self.refuse(404, "RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Authorization"] != "Bearer secret":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            known = name in self.server.repositories
            if not known:
                self.server.commit(name, {".gitattributes": b"*.onnx filter=lfs"})
            self.answer({"url": f"{self.server.url}/{name}", "name": name}, 409 if known else 200)
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            # As there, what is not text goes to another store.
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {file: "regular" if file.endswith((".md", ".json", ".xml")) else "lfs" for file in files}
            self.answer(
                {"files": [{"path": file, "uploadMode": mode, "shouldIgnore": False} for file, mode in modes.items()]}
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.partition("?")[0]):
            files = {}
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
            oid = self.server.commit(found[1], files)
            self.answer({"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{found[1]}/commit/{oid}"})
        else:
            self.refuse(404, "RepoNotFound")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[hashlib.sha256(data).hexdigest()] = data
        self.answer()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


def run(hub: Hub, cache: Path, *steps: str, token: str = "secret") -> list[Any]:
    """What expressions give, in a process that takes this server for the Hub."""
    there = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *steps], env=os.environ | there, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".md", ".csv")}


def test_a_model_goes_there_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    [pushed, again] = run(hub, tmp_path, *['find_model().push("me/painter")'] * 2)
    _, first, second = hub.repositories["me/painter"]
    assert (pushed, again) == (f"hf://me/painter@{first}", f"hf://me/painter@{second}")
    files = dict(hub.repositories["me/painter"][first])
    del files[".gitattributes"]
    assert 'impasto.load("hf://me/painter")' in files.pop("README.md").decode()
    assert files == read_files(find_model().folder)

    hub.commit("me/painter", {"README.md": b"mine", "card.json": b"{}", "evil.pickle": b"never read"})
    pinned, newest, here = run(
        hub, tmp_path, f'paint(impasto.load("{pushed}"))', 'impasto.load("hf://me/painter")', "paint(impasto.load())"
    )
    assert pinned == here
    assert re.search(r"^ImpastoError: .*card\.json is not a model card", newest)
    assert "evil.pickle" not in hub.fetched
    run(hub, tmp_path, 'find_model().push("me/painter")')
    assert list(hub.repositories["me/painter"].values())[-1]["README.md"] == b"mine"

    hub.shutdown()
    hub.server_close()
    offline, unknown = run(hub, tmp_path, f'find_model("{pushed}")', 'find_model("hf://me/other")')
    assert "damaged" not in offline
    assert "Model(" in offline
    assert unknown == (
        "ImpastoError: the Hub cannot be reached and me/other is not in the cache: look at the network, and try again"
    )


def test_what_goes_wrong_is_told_in_a_line(hub: Hub, tmp_path: Path) -> None:
    files = read_files(find_model().folder)
    hub.commit("you/nothing", {"README.md": b"no model"})
    weights = bytearray(files["weights.safetensors"])
    weights[-1] ^= 1
    hub.commit("you/damaged", files | {"weights.safetensors": bytes(weights)})
    folder = shutil.copytree(find_model().folder, tmp_path / "damaged")
    (folder / "weights.safetensors").write_bytes(weights)
    steps = {
        'find_model("hf://you/absent")': "no model you/absent on the Hub that is there: see whether the name is right",
        'find_model("hf://you/nothing@v9")': "you/nothing on the Hub has no revision v9",
        'find_model("hf://you/nothing")': "hf://you/nothing holds no model of impasto: there is no card.json in it",
        'find_model("hf://nothing")': "hf://nothing is no model on the Hub: write hf://owner/name",
        'find_model("hf://you/no thing")': "you/no thing is no name of a repository",
        'impasto.load("hf://you/damaged", engine="onnxruntime")': "the files of model adain in .* are damaged",
        f'find_model("{folder}").push("me/damaged")': "the files of model adain in .* are damaged",
    }
    for said, wanted in zip(run(hub, tmp_path / "cache", *steps), steps.values(), strict=True):
        assert re.match(f"ImpastoError: {wanted}", said)
        assert "\n" not in said
    assert "me/damaged" not in hub.repositories
    [said] = run(hub, tmp_path / "cache", 'find_model().push("me/painter")', token="wrong")
    assert re.match("ImpastoError: .*me/painter.*(401|log in)", said)
    hub.shutdown()
    hub.server_close()
    [said] = run(hub, tmp_path / "cache", 'find_model().push("me/painter")')
    assert re.match("ImpastoError: the Hub cannot be reached for me/painter: ", said)
