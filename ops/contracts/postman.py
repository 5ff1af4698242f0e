"""
A Postman collection that signs its own requests and checks every answer, made from the OpenAPI document and the order of steps.

`python -m ops.contracts.postman` writes `schemas/postman_collection.json` and the template of its environment; with `--check` it
only compares them with the code. `newman run` runs the collection against a stack.
"""

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from ops.contracts.flows import FOLDERS, Step
from ops.contracts.openapi import FILE as CONTRACT
from ops.contracts.openapi import document
from ops.contracts.records import name_of, publish, text_of
from schemas.providers import NAMES, Provider, providers
from schemas.rules import Json
from schemas.stripe import PROVIDER as STRIPE

COLLECTION: Final = CONTRACT.with_name("postman_collection.json")
ENVIRONMENT: Final = CONTRACT.with_name("postman_environment.json")

_SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_VALUES: Final[dict[str, str]] = {
    "public": "http://127.0.0.1:8080",
    "internal": "http://127.0.0.1:8081",
    "serviceToken": "",
    "adminToken": "",
    **{f"{name}Secret": "" for name in NAMES},
    "partnerId": "demo",
    "partnerSecret": "",
}
_SECRET: Final = re.compile("Token|Secret")
_PUBLIC: Final = ("/v1/webhooks/", "/health/")
_OWN_IDS: Final = {
    f"{prefix}_1Q": f"{prefix}_{{{{run}}}}"
    for provider in providers()
    for prefix in provider.id_prefixes
    if prefix not in STRIPE.id_prefixes
}
_VARIABLES: Final[dict[str, str]] = {
    **_OWN_IDS,
    "evt_1Q": "{{stripeEvent}}", "pi_1Q": "{{payment}}", "in_1Q": "{{invoice}}", "user-7": "{{user}}",
    "acme": "{{partnerId}}", "lead-42": "lead-{{run}}", "p-42": "p-{{run}}", "user:7": "user:{{run}}",
    "01a20e74-0deb-71bc-83dc-7d8a5b6f4f28": "{{lead}}",
}  # fmt: skip
"""Variables in the place of ids of the examples, so that each run has its own."""

_BEGIN: Final = """\
if (!pm.collectionVariables.get('run')) {
  const run = Date.now().toString(36) + Math.floor(Math.random() * 1e6).toString(36)
  const ids = {stripeEvent: 'evt_', payment: 'pi_', refund: 're_', dispute: 'du_', subscription: 'sub_', invoice: 'in_', user: '',
    partner: 'p-', endpoint: 'e-'}
  Object.entries(ids).forEach(([name, prefix]) => pm.collectionVariables.set(name, prefix + run))
  const unknown = pm.variables.replaceIn('{{$guid}}')
  Object.entries({run, large: 'x'.repeat(300000), tries: 0, 'dead-letter': unknown, erasure: unknown, provider: 'stripe'})
    .forEach(([name, value]) => pm.collectionVariables.set(name, value))
}"""
_SIGN: Final = """\
const now = Math.floor(Date.now() / 1000)
const body = pm.variables.replaceIn(pm.request.body.raw)
const mac = (secret, text) => CryptoJS.HmacSHA256(text, secret).toString(CryptoJS.enc.Hex)
const timed = (secret, at) => `t=${at},v1=${mac(secret, `${at}.${body}`)}`
pm.collectionVariables.set('signature', %s)"""


def _signing(provider: Provider) -> str:
    secret = f"pm.environment.get('{provider.name}Secret')"
    return f"timed({secret}, now)" if provider.signature.timed else f"mac({secret}, body)"


_SIGNERS: Final[dict[str, str]] = {
    **{f"{provider.name}Signature": _signing(provider) for provider in providers()},
    "wrong": "timed('another secret', now)",
    "old": "timed(pm.environment.get('stripeSecret'), now - 400)",
    "partnerSignature": "timed(pm.environment.get('partnerSecret'), now)",
    "partnerBody": "'sha256=' + mac(pm.environment.get('partnerSecret'), body)",
}
_EVERY: Final = """\
pm.test('the answer names its trace', () => pm.expect(pm.response.headers.get('X-Trace-Id')).to.match(/^[0-9a-f]{32}$/))
if (pm.response.code >= 400) {
  pm.test('the error is a problem document', () => {
    pm.expect(pm.response.headers.get('Content-Type')).to.match(/^application\\/problem[+]json/)
    pm.expect(pm.response.json()).to.include({status: pm.response.code}).and.to.have.property('reason')
  })
}"""
_WAIT: Final = """\
const tries = pm.collectionVariables.get('tries')
if (!(pm.response.code === 200 && answer.%s === %s) && tries < 150) {
  pm.collectionVariables.set('tries', tries + 1)
  pm.execution.setNextRequest(pm.info.requestId)
  setTimeout(() => {}, 200)
} else {
  pm.collectionVariables.set('tries', 0)
%s
}"""
_ANSWER: Final = "const answer = pm.response.headers.get('Content-Type').includes('json') ? pm.response.json() : {}"


def collection() -> Json:
    about = "Every operation of the contract, in flows. Run it as a whole: later steps use the answers of earlier ones."
    return {
        "info": {"name": "Tallyhook", "description": about, "schema": _SCHEMA},
        "item": [{"name": name, "item": [_item(step) for step in steps]} for name, steps in FOLDERS.items()],
        "event": [_event("prerequest", _BEGIN), _event("test", _EVERY)],
    }


def environment() -> Json:
    """The addresses and secrets of a stack, with the secrets left empty."""
    values = [
        {"key": key, "value": value, "type": "secret" if _SECRET.search(key) else "default", "enabled": True}
        for key, value in _VALUES.items()
    ]
    return {"name": "Tallyhook", "values": values}


@cache
def _contract() -> tuple[Json, dict[str, Json]]:
    """The OpenAPI document's components, and its operations by name, with their method and path."""
    contract = document()
    operations = {
        operation["operationId"]: {**operation, "method": method.upper(), "path": path}
        for path, item in contract["paths"].items()
        for method, operation in item.items()
    }
    return contract["components"], operations


def _item(step: Step) -> Json:
    components, operations = _contract()
    operation = operations[step.operation]
    headers = {"Content-Type": "application/json"} if "requestBody" in operation else {}
    events = [_event("test", _test(step, operation))]
    (scheme, roles), *_ = (operation["security"][0] if operation["security"] and step.proof != "none" else {"": []}).items()
    if roles:
        headers["X-Internal-Token"] = f"{{{{{step.proof or roles[0]}Token}}}}"
    elif scheme:
        headers[components["securitySchemes"][scheme]["name"]] = "{{signature}}"
        events.append(_event("prerequest", _SIGN % _SIGNERS[step.proof or scheme]))
    request: Json = {
        "method": operation["method"],
        "url": _url(operation["path"], step.query),
        "header": [{"key": key, "value": value} for key, value in {**headers, **step.headers}.items()],
        "description": f"{operation['summary']}\n\n{operation['description']}",
    }
    if "requestBody" in operation:
        raw = step.raw or json.dumps(_patched(_example(operation), step.change), indent=2, ensure_ascii=False)
        request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    return {"name": step.title, "event": events, "request": request}


def _url(path: str, query: Mapping[str, str]) -> str:
    """The path with variables for ids, on its listener."""
    host = "{{public}}" if path.startswith(_PUBLIC) else "{{internal}}"
    noun, filled = "", []
    for part in path.split("/"):
        filled.append(f"{{{{{_noun(noun, part[1:-1])}}}}}" if part.startswith("{") else part)
        noun = noun if part.startswith("{") else part
    return host + "/".join(filled) + ("?" if query else "") + "&".join(f"{name}={value}" for name, value in query.items())


def _noun(plural: str, name: str) -> str:
    return re.sub("s$", "", re.sub("ies$", "y", plural)) if name == "id" else name.removesuffix("Id")


def _example(operation: Json) -> Any:
    """The example of the operation's body, without nulls and with variables for ids."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    text = json.dumps(_contract()[0]["schemas"][name_of(schema.get("anyOf", [schema])[0])]["examples"][0])
    for value, variable in _VARIABLES.items():
        text = text.replace(value, variable)
    return _patched({}, json.loads(text))


def _patched(value: Any, patch: Any) -> Any:
    """The value after a merge patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    changed = dict(value) if isinstance(value, Mapping) else {}
    for name, each in patch.items():
        if each is None:
            changed.pop(name, None)
        else:
            changed[name] = _patched(changed.get(name), each)
    return changed


def _test(step: Step, operation: Json) -> str:
    """The script that checks the answer's status, the fields that its record requires, and the values that the step expects."""
    responses = operation["responses"]
    accepted = {str(step.status)} if step.status else {"200", "202"}
    statuses = [int(status) for status, each in responses.items() if step.refused in each.get("x-reasons", ())] or [
        int(status) for status in responses if status in accepted and not step.refused
    ]
    fields = _required(responses[str(statuses[0])]) if not step.refused and len(statuses) == 1 else []
    checks = [f"pm.expect(pm.response.code).to.be.oneOf({statuses})"]
    checks += [f"pm.expect(answer).to.include.all.keys({json.dumps(fields)})"] if fields else []
    checks += [f"pm.response.to.have.header('{step.header}')"] if step.header else []
    expected = {**step.expect, **({"reason": step.refused} if step.refused else {})}
    checks += [f"pm.expect(answer.{path}).to.eql({_value(value)})" for path, value in expected.items()]
    lines = ["pm.test('the answer is as expected', () => {", *(f"  {check}" for check in checks), "})"]
    lines += [f"pm.collectionVariables.set('{name}', answer.{path})" for name, path in step.keep.items()]
    script = "\n".join(lines)
    return f"{_ANSWER}\n{_WAIT % (step.until[0], _value(step.until[1]), script) if step.until[0] else script}"


def _required(response: Json) -> list[str]:
    """The fields that the answer's record requires; none if there are several records or none."""
    schema = next(iter(response["content"].values()))["schema"]
    return list(_contract()[0]["schemas"][name_of(schema)].get("required", ())) if "$ref" in schema else []


def _value(value: Any) -> str:
    """The value in JavaScript."""
    text = json.dumps(value)
    return f"pm.variables.replaceIn({text})" if isinstance(value, str) and "{{" in value else text


def _event(listen: str, script: str) -> Json:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": script.split("\n")}}


def main(arguments: list[str]) -> int:
    files = {COLLECTION: collection(), ENVIRONMENT: environment()}
    return max(publish(file, text_of(content), arguments, "python -m ops.contracts.postman") for file, content in files.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
