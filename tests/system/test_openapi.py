"""docs/openapi.yaml against the node: the same calls and roles both ways, and answers of the shape that it promises."""
import pathlib
import re

import pytest
import yaml

from lib.web import ask, bearer

FILE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
METHODS = ("get", "put", "post", "delete")
DESCRIPTION = yaml.safe_load(FILE.read_text())
CALLS = {(method.upper(), path): {**call, "parameters": item.get("parameters", []) + call.get("parameters", [])}
         for path, item in DESCRIPTION["paths"].items() for method, call in item.items() if method in METHODS}


def followed(value):
    """What a $ref stands for."""
    while "$ref" in value:
        found = DESCRIPTION
        assert value["$ref"].startswith("#/"), value
        for word in value["$ref"][2:].split("/"):
            found = found[word]
        value = found
    return value


def every(value):
    """All objects below."""
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from every(member)
    elif isinstance(value, list):
        for member in value:
            yield from every(member)


def properties(schema):
    schema = followed(schema)
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found.update(properties(part))
    return found


KINDS = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def check(schema, value, where):
    """Of the kind that is promised, every member described, and none forgotten."""
    schema = followed(schema)
    if value is None:
        assert schema.get("nullable"), f"{where}: null"
        return
    kind = schema.get("type", "object")
    assert isinstance(value, KINDS[kind]) and isinstance(value, bool) == (kind == "boolean"), f"{where}: {value!r} is no {kind}"
    assert value in schema.get("enum", [value]), f"{where}: {value!r} is none of {schema['enum']}"
    if kind == "array":
        for index, member in enumerate(value):
            check(schema["items"], member, f"{where}[{index}]")
    elif kind == "object" and properties(schema):
        described = properties(schema)
        assert set(value) <= set(described), f"{where}: {set(value) - set(described)} not described"
        for name, member in value.items():
            check(described[name], member, f"{where}.{name}")
    elif isinstance(schema.get("additionalProperties"), dict):
        for name, member in value.items():
            check(schema["additionalProperties"], member, f"{where}.{name}")


def body_schema(method, path, status="200"):
    answer = followed(CALLS[method, path]["responses"][status])
    return answer["content"]["application/json"]["schema"]


# ---- the description alone ----

def test_every_reference_leads_somewhere():
    count = 0
    for value in every(DESCRIPTION):
        if "$ref" in value:
            followed(value)
            count += 1
    assert count > 20
    used = {value["$ref"] for value in every(DESCRIPTION) if "$ref" in value}
    for folder in ("schemas", "responses"):
        for name in DESCRIPTION["components"][folder]:
            assert f"#/components/{folder}/{name}" in used, f"{name} is used nowhere"


def test_every_call_is_described_wholly():
    assert DESCRIPTION["openapi"].startswith("3.")
    names = [call["operationId"] for call in CALLS.values()]
    assert len(names) == len(set(names))
    for (method, path), call in CALLS.items():
        where = f"{method} {path}"
        assert call["summary"] and call["tags"] and call["responses"], where
        assert set(call["tags"]) <= {tag["name"] for tag in DESCRIPTION["tags"]}, where
        in_path = {parameter["name"] for parameter in call["parameters"] if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), where
        assert (call.get("security") == []) == (call["x-role"] == "none"), where
        assert ("requestBody" in call) <= (method in ("PUT", "POST")), where
        for status, answer in call["responses"].items():
            assert followed(answer)["description"], f"{where} {status}"
            assert re.fullmatch("[1-5][0-9][0-9]", status), where


def test_every_call_that_needs_a_login_tells_its_refusals():
    for (method, path), call in CALLS.items():
        needs = {"401"} if call["x-role"] == "viewer" else {"401", "403"}
        if call["x-role"] != "none":
            assert needs <= set(call["responses"]), f"{method} {path}"


# ---- against the node ----

def test_the_description_and_the_routes_are_the_same(node):
    routes = {(route["method"], route["path"].replace("...}", "}")): route["role"] for route in node.request("GET", "/v1/routes")[1]}
    assert {call: description["x-role"] for call, description in CALLS.items()} == routes


def test_the_node_serves_this_description(node):
    answer = ask(node, "GET", "/v1/openapi.yaml")
    assert answer.headers["Content-Type"].startswith("application/yaml")
    assert yaml.safe_load(answer.bytes) == DESCRIPTION


@pytest.fixture
def full_node(node, open_client):
    """Something of everything to list."""
    open_client(node, client_id="live").subscribe(("a/#", 1))
    node.client().connect("kept", properties=[("session_expiry", 100)])
    node.request("POST", "/v1/publish", {"topic": "text", "payload": "x", "retain": True, "qos": 1, "expiry_s": 1000})
    node.request("POST", "/v1/publish", {"topic": "bytes", "payload_base64": "/w==", "retain": True, "qos": 1})
    node.request("POST", "/v1/acl", {"subject": "*", "action": "readwrite", "filter": "#"})
    node.set(bridges='[{"name":"away","host":"127.0.0.1","port":1,"topics":[{"pattern":"x/#","direction":"out"}]}]')
    node.request("PUT", "/v1/vips", {"address": "203.0.113.50/24"})
    node.request("POST", "/v1/tokens", {})
    return node


MAY_BE_EMPTY = ("/v1/tokens", "/v1/vips")  # on a node without a port for others, or without the rights
LISTED = [(method, path) for (method, path), call in CALLS.items()
          if method == "GET" and "{" not in path and "application/json" in followed(call["responses"].get("200", {})).get("content", {})]


@pytest.mark.parametrize("method,path", LISTED, ids=[path for _, path in LISTED])
def test_an_answer_has_the_promised_shape(full_node, method, path):
    status, value = full_node.request(method, path)
    assert status == 200 and (value or path in MAY_BE_EMPTY), path
    check(body_schema(method, path), value, path)


def test_one_of_a_listing_has_the_promised_shape(full_node):
    for path, template in (("/v1/clients/live", "/v1/clients/{id}"), ("/v1/clients/kept", "/v1/clients/{id}"), ("/v1/topics/text", "/v1/topics/{topic}"),
                           ("/v1/topics/bytes", "/v1/topics/{topic}"), ("/v1/settings/mqtt.anonymous", "/v1/settings/{key}")):
        status, value = full_node.request("GET", path)
        assert status == 200
        check(body_schema("GET", template), value, path)


def test_errors_have_the_promised_shape_and_status(full_node):
    token = bearer(full_node)
    for method, path, template, body in (
            ("GET", "/console/none", "/console/{file}", None), ("POST", "/v1/acl", "/v1/acl", {}), ("DELETE", "/v1/acl/x", "/v1/acl/{id}", None),
            ("DELETE", "/v1/acl/999999", "/v1/acl/{id}", None), ("GET", "/v1/clients/none", "/v1/clients/{id}", None),
            ("DELETE", "/v1/clients/none", "/v1/clients/{id}", None), ("POST", "/v1/login", "/v1/login", {}), ("POST", "/v1/publish", "/v1/publish", {}),
            ("POST", "/v1/restore", "/v1/restore", {}), ("GET", "/v1/settings/none", "/v1/settings/{key}", None),
            ("PUT", "/v1/settings/none", "/v1/settings/{key}", {"value": "1"}), ("PUT", "/v1/settings/mqtt.anonymous", "/v1/settings/{key}", {"value": "1"}),
            ("GET", "/v1/topics?filter=%23%23", "/v1/topics", None), ("GET", "/v1/topics/none", "/v1/topics/{topic}", None),
            ("DELETE", "/v1/topics/none", "/v1/topics/{topic}", None), ("PUT", "/v1/users/x", "/v1/users/{name}", {"role": "king"}),
            ("DELETE", "/v1/users/none", "/v1/users/{name}", None), ("POST", "/v1/users/import", "/v1/users/import", "no"),
            ("POST", "/v1/acl/import", "/v1/acl/import", "no"), ("GET", "/mqtt", "/mqtt", None)):
        answer = ask(full_node, method, path, body, Authorization=token)
        assert 400 <= answer.status < 500 and str(answer.status) in CALLS[method, template]["responses"], (method, path, answer.status)
        check(body_schema(method, template, str(answer.status)), answer.json, f"{method} {path}")
        assert answer.json["error"]["code"] and answer.json["error"]["message"]


def test_what_stands_in_the_examples_is_taken(full_node):
    examples = [(call, content["example"]) for call, description in CALLS.items()
                for content in description.get("requestBody", {}).get("content", {}).values() if "example" in content]
    assert len(examples) >= 4
    for (method, path), example in examples:
        path = path.replace("{key}", "mqtt.anonymous")
        answer = ask(full_node, method, path, example, Authorization=bearer(full_node))
        assert answer.status == 200, (method, path, answer.bytes)
    full_node.default("anonymous")
