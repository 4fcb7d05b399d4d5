"""A Hugging Face hub in memory, on 127.0.0.1: the few routes that pushing and loading use."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".skops", ".ubj")
"""Kinds of files that the hub keeps in its large-file storage."""


@dataclass
class Repository:
    """Commits of files, and the branches that point at them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        text = repr((len(self.commits), sorted(files), list(self.commits))).encode()
        sha = hashlib.sha1(text).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def find(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclass
class LocalHub:
    """What the hub holds, how it behaves, and what it was asked.

    Attributes:
        writers: Tokens that may write.
        readers: Tokens that may read private repositories.
        cut_after: Byte of a file after which every download of it breaks off.
        asked: Method and path of every request, and its range of bytes.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    writers: frozenset[str] = frozenset({"hf_writer"})
    readers: frozenset[str] = frozenset({"hf_writer", "hf_reader"})
    objects: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)


def point_at(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub ask there, as HF_ENDPOINT would have it do from the start."""
    patch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextmanager
def serve_hub() -> Iterator[LocalHub]:
    """Answer until the block ends."""
    hub = LocalHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._route(
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._show),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", self._list),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._give),
        )

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self._route(
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", self._branch),
            (r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            (r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self._commit),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
        )

    def do_PUT(self) -> None:
        body = self._body()
        self.hub.objects[hashlib.sha256(body).hexdigest()] = body
        self._answer(200, {})

    def _route(self, *routes: Any) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path} {self.headers.get('Range') or ''}")
        for pattern, answer in routes:
            if match := re.fullmatch(pattern, path):
                answer(*(unquote(part or "") for part in match.groups()))
                return
        self._answer(404, {"error": f"no route {self.command} {self.path}"})

    # What may be asked

    @property
    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _may_write(self) -> bool:
        if self._token not in self.hub.writers:
            message = "Invalid credentials" if not self._token else "You may not write here"
            self._answer(403 if self._token else 401, {"error": message})
            return False
        return True

    def _find(self, name: str, revision: str = "main") -> tuple[Repository, str] | None:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self._token not in self.hub.readers):
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        sha = found.find(revision or "main")
        if sha is None:
            self._answer(404, {"error": "Invalid rev"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return found, sha

    # Reading

    def _show(self, name: str, revision: str) -> None:
        if found := self._find(name, revision):
            repository, sha = found
            files = repository.commits[sha]
            siblings = [{"rfilename": p, "size": len(b)} for p, b in files.items()]
            shown = {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}
            self._answer(200, shown)

    def _list(self, name: str, revision: str) -> None:
        if found := self._find(name, revision):
            repository, sha = found
            rows = [
                {"type": "file", "path": p, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                for p, b in repository.commits[sha].items()
            ]
            self._answer(200, rows)

    def _give(self, name: str, revision: str, path: str) -> None:
        found = self._find(name, revision)
        if not found:
            return
        repository, sha = found
        if path not in repository.commits[sha]:
            self._answer(404, {"error": "no entry"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = repository.commits[sha][path]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if self.headers.get("Range") else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.hub.cut_after
        if limit is not None and len(content) > limit:
            self.wfile.write(content[start:limit])
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(2)
            return
        self.wfile.write(content[start:])

    # Writing

    def _create(self) -> None:
        body = json.loads(self._body())
        if not self._may_write():
            return
        name = f"{body['organization']}/{body['name']}"
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repositories:
            self._answer(409, {"error": "You already created this model repo", **url})
            return
        self.hub.repositories[name] = Repository(private=body.get("visibility") == "private")
        self._answer(200, url)

    def _validate(self) -> None:
        content = json.loads(self._body())["content"]
        wrong = [] if content.startswith("---\n") else [{"message": "no header"}]
        self._answer(400 if wrong else 200, {"errors": wrong, "warnings": []})

    def _branch(self, name: str, branch: str) -> None:
        self._body()
        if self._may_write() and (found := self._find(name)):
            repository, sha = found
            there = branch in repository.branches
            repository.branches.setdefault(branch, sha)
            self._answer(409 if there else 201, {"error": "exists"} if there else {})

    def _preupload(self, name: str, branch: str) -> None:
        files = json.loads(self._body())["files"]
        if self._may_write() and self._find(name, branch):
            answers = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in files
            ]
            self._answer(200, {"files": answers})

    def _batch(self, name: str) -> None:
        objects = json.loads(self._body())["objects"]
        if self._may_write():
            answers = [
                row | {"actions": {"upload": {"href": f"{self.hub.endpoint}/put/{row['oid']}"}}}
                for row in objects
            ]
            self._answer(200, {"transfer": "basic", "objects": answers})

    def _commit(self, name: str, branch: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines() if line]
        if not self._may_write() or not (found := self._find(name, branch)):
            return
        repository, sha = found
        files = dict(repository.commits[sha])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = repository.commit(branch, files)
        url = f"{self.hub.endpoint}/{name}/commit/{made}"
        self._answer(200, {"success": True, "commitOid": made, "commitUrl": url})

    # Plumbing

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
