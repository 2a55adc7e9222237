"""HTTP over TCP, where nobody is trusted: requests, logins, and bytes as they are."""
import http.client
import json
import socket


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.bytes = response.read()

    @property
    def json(self):
        return json.loads(self.bytes)

    @property
    def code(self):
        return self.json["error"]["code"]


def ask(node, method, path, body=None, **headers):
    """Over TCP, where nobody is trusted."""
    link = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
    try:
        text = json.dumps(body) if isinstance(body, (dict, list)) else body
        link.request(method, path, text, {key.replace("_", "-"): value for key, value in headers.items()})
        return Answer(link.getresponse())
    finally:
        link.close()


def password(node):
    return (node.data / "admin-password").read_text().strip()


def login(node, username="admin", secret=None):
    return ask(node, "POST", "/v1/login", {"username": username, "password": secret or password(node)})


def bearer(node, username="admin", secret=None):
    return "Bearer " + login(node, username, secret).json["token"]


def raw(node, data):
    """The status that these bytes are answered with, or None when the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", node.http_port), 20) as link:
        try:
            link.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            first = link.recv(4096)
        except ConnectionResetError:
            return None
    return int(first.split(b" ")[1]) if first else None
