"""A server on this machine that speaks the part of the Hub's API that a push and a download need."""

import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN, READER = "hf_" + "w" * 34, "hf_" + "r" * 34
LARGE = (".safetensors", ".onnx", ".bin")  # what goes to the large file storage


def blob_id(content: bytes) -> str:
    """The hash by which git knows a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    Attributes:
        repos: by name, their branches, and the files of these.
        private: names of private ones.
        large: content of large files, by SHA-256.
        sent: how many bytes of large files were received, an entry each.
        asked: method and path of each request.
        bodies: of all requests, one after another.
        fails_after: large files after which connections break; None = never.
        commits: messages, in order.
    """

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    fails_after: int | None = None
    commits: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def running() -> Iterator[Hub]:
    """Run a server, in threads, while the block lasts."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:  # noqa: C901  # a route a branch
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.asked.append((method, path))
        body = self._body()
        if method == "PUT":
            self._receive(path, body)
            return
        hub.bodies.append(body)
        parts = path.strip("/").split("/")
        if parts[0] == "api" and not self._is_known():
            self._send(401, {"error": "Invalid username or password."})
        elif path == "/api/whoami-v2":
            role = "read" if READER in self.headers["Authorization"] else "write"
            token = {"displayName": "test", "role": role}
            self._send(200, {"name": "ada", "type": "user", "orgs": [{"name": "lab"}], "auth": {"accessToken": token}})
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'ada'}/{wanted['name']}"
            is_new = name not in hub.repos
            hub.repos.setdefault(name, {"main": {}})
            if is_new and (wanted.get("private") or wanted.get("visibility") == "private"):
                hub.private.add(name)
            self._send(200 if is_new else 409, {"url": f"{hub.url}/{name}", "error": "You already created this repo"})
        elif path == "/api/validate-yaml":
            is_card = json.loads(body)["content"].startswith("---\n")
            self._send(200, {"errors": [] if is_card else [{"message": "no metadata"}], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/verify/"):
            self._send(200, {})
        elif "resolve" in parts:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[:2] == ["api", "models"]:
            self._of_model("/".join(parts[2:4]), parts[4:], body)
        else:
            self._send(404, {"error": "Not found"})

    def _of_model(self, name: str, rest: list[str], body: bytes) -> None:
        hub = self.state
        branches = hub.repos.get(name)
        if branches is None:
            self._send(404, {"error": "Repository not found"})
        elif rest[:1] == ["branch"]:
            branches.setdefault(rest[1], dict(branches["main"]))
            self._send(200, {})
        elif rest[:1] == ["preupload"]:
            files, there = json.loads(body)["files"], branches[rest[1]]
            self._send(200, {"files": [self._mode(one["path"], there.get(one["path"])) for one in files]})
        elif rest[:1] == ["commit"]:
            self._commit(name, branches[rest[1]], body)
        elif not rest or rest[0] == "revision":
            files = branches[rest[1] if rest else "main"]
            siblings = [{"rfilename": own} for own in files]
            self._send(200, {"id": name, "sha": self._sha(files), "siblings": siblings, "tags": []})
        elif rest[0] == "tree":
            files = branches[rest[1]]
            self._send(200, [{"type": "file", "path": own, "oid": "0", "size": len(files[own])} for own in files])
        else:
            self._send(404, {"error": "Not found"})

    def _mode(self, path: str, there: bytes | None) -> dict[str, Any]:
        is_large = path.endswith(LARGE)
        known = None if there is None else hashlib.sha256(there).hexdigest() if is_large else blob_id(there)
        return {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False, "oid": known}

    def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.state.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.large[value["oid"]]
        sha = self._sha(files)
        self._send(200, {"commitUrl": f"{self.state.url}/{name}/commit/{sha}", "commitOid": sha})

    def _batch(self, wanted: dict[str, Any]) -> None:
        hub, objects = self.state, []
        for one in wanted["objects"]:
            actions = {
                "upload": {"href": f"{hub.url}/put/{one['oid']}", "header": {}},
                "verify": {"href": f"{hub.url}/verify/{one['oid']}", "header": {}},
            }
            objects.append({**one, **({} if one["oid"] in hub.large else {"actions": actions})})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _receive(self, path: str, body: bytes) -> None:
        hub, oid = self.state, path.rpartition("/")[2]
        if hub.fails_after is not None and len(hub.sent) >= hub.fails_after:
            self._send(403, {"error": "the storage is full"})  # of others the client tries again, for a minute
            return
        assert hashlib.sha256(body).hexdigest() == oid
        hub.large[oid] = body
        hub.sent.append(len(body))
        self._send(200, {})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        files = self.state.repos.get(name, {})
        branch = files.get(revision) or next((own for own in files.values() if self._sha(own) == revision), None)
        if name in self.state.private and not self._is_known():
            self._send(401, {"error": "private"}, {"X-Error-Code": "RepoNotFound"})
        elif branch is None or path not in branch:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        else:
            content = branch[path]
            headers = {"X-Repo-Commit": self._sha(branch), "ETag": f'"{blob_id(content)}"'}
            self._write(200, content, {**headers, "X-Linked-Size": str(len(content))})

    def _sha(self, files: dict[str, bytes]) -> str:
        return hashlib.sha1(
            b"".join(name.encode() + blob_id(files[name]).encode() for name in sorted(files))
        ).hexdigest()

    def _is_known(self) -> bool:
        return (self.headers["Authorization"] or "").removeprefix("Bearer ") in (TOKEN, READER)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._write(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _write(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
