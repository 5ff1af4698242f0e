"""
A Postman collection that signs its own requests and checks every answer, made from the routes and their flows.

`python -m ops.contracts.postman` writes `schemas/postman_collection.json` and the template of its environment; with `--check` it
only says whether they are as they should be. `newman run` runs it against a stack.
"""

import re
import sys
from typing import Final

from ops.contracts.flows import FOLDERS, Step
from ops.contracts.openapi import FILE as CONTRACT
from ops.contracts.records import publish, text_of
from ops.processes.routes import HEALTH, INTERNAL, WEBHOOKS
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
_ROUTES: Final = {route.name: route for route in (*WEBHOOKS, *INTERNAL)}
_PUBLIC: Final = {route.name for route in (*HEALTH, *WEBHOOKS)}

_BEGIN: Final = """\
if (!pm.collectionVariables.get('run')) {
  const run = Date.now().toString(36) + Math.floor(Math.random() * 1e6).toString(36)
  const fresh = {run, payment: 'pi_' + run, stripeEvent: 'evt_' + run, user: 'user-' + run, large: 'x'.repeat(300000), tries: 0}
  Object.entries(fresh).forEach(([name, value]) => pm.collectionVariables.set(name, value))
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


_SIGNATURES: Final[dict[str, tuple[str, str]]] = {
    **{provider.name: (provider.signature.header, _signing(provider)) for provider in providers()},
    "wrong": (STRIPE.signature.header, "timed('nobody knows it', now)"),
    "old": (STRIPE.signature.header, "timed(pm.environment.get('stripeSecret'), now - 400)"),
    "partner": ("X-Partner-Signature", "timed(pm.environment.get('partnerSecret'), now)"),
    "partnerBody": ("X-Partner-Signature", "'sha256=' + mac(pm.environment.get('partnerSecret'), body)"),
}
_EVERY: Final = """\
pm.test('the answer names its trace', () => pm.expect(pm.response.headers.get('X-Trace-Id')).to.match(/^[0-9a-f]{32}$/))
if (pm.response.code >= 400) {
  pm.test('a refusal is a problem with a reason', () => {
    pm.expect(pm.response.headers.get('Content-Type')).to.match(/^application\\/problem[+]json/)
    pm.expect(pm.response.json()).to.include({status: pm.response.code}).and.to.have.property('reason')
  })
}"""
_WAIT: Final = """\
const tries = pm.collectionVariables.get('tries')
if (!(pm.response.code === 200 && %s) && tries < 150) {
  pm.collectionVariables.set('tries', tries + 1)
  pm.execution.setNextRequest(pm.info.requestId)
  setTimeout(() => {}, 200)
} else {
  pm.collectionVariables.set('tries', 0)
  pm.test('it has come to that', () => pm.expect(%s, pm.response.text()).to.eql(true))
%s
}"""


def collection() -> Json:
    return {
        "info": {"name": "Tallyhook", "description": "Every flow of the contract. Run it as a whole.", "schema": _SCHEMA},
        "item": [{"name": name, "item": [_item(step) for step in steps]} for name, steps in FOLDERS.items()],
        "event": [_event("prerequest", _BEGIN), _event("test", _EVERY)],
    }


def environment() -> Json:
    """What the collection needs to know of a stack, the secrets left out."""
    values = [
        {"key": key, "value": value, "type": "secret" if _SECRET.search(key) else "default", "enabled": True}
        for key, value in _VALUES.items()
    ]
    return {"name": "Tallyhook", "values": values}


def _item(step: Step) -> Json:
    events = [_event("test", _test(step))]
    if step.signer:
        events.append(_event("prerequest", _SIGN % _SIGNATURES[step.signer][1]))
    return {"name": step.title, "event": events, "request": _request(step)}


def _request(step: Step) -> Json:
    route = _ROUTES[step.route]
    path = re.sub(r"\{(\w+)\}", lambda name: step.ids[name[1]], route.path)
    query = "&".join(f"{name}={value}" for name, value in step.query.items())
    host = "public" if route.name in _PUBLIC else "internal"
    request: Json = {
        "method": route.method,
        "url": f"{{{{{host}}}}}{path}" + (f"?{query}" if query else ""),
        "header": [{"key": key, "value": value} for key, value in _headers(step).items()],
        "description": route.text,
    }
    if step.body is not None:
        raw = step.body if isinstance(step.body, str) else text_of(step.body).decode().rstrip()
        request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    return request


def _headers(step: Step) -> dict[str, str]:
    found = {"Content-Type": "application/json"} if step.body is not None else {}
    if step.caller:
        found["X-Internal-Token"] = f"{{{{{step.caller}Token}}}}"
    if step.signer:
        found[_SIGNATURES[step.signer][0]] = "{{signature}}"
    return {**found, **step.headers}


def _test(step: Step) -> str:
    statuses = ", ".join(map(str, step.status))
    lines = [f"pm.test('the status is as it should be', () => pm.expect(pm.response.code).to.be.oneOf([{statuses}]))"]
    if step.check:
        lines.append(f"pm.test('so is the answer', () => {{ {step.check} }})")
    lines += [f"pm.collectionVariables.set('{name}', answer.{field})" for name, field in step.keep.items()]
    told = "\n".join(lines)
    if step.until:
        told = _WAIT % (step.until, step.until, told)
    return f"const answer = pm.response.headers.get('Content-Type').includes('json') ? pm.response.json() : {{}}\n{told}"


def _event(listen: str, script: str) -> Json:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": script.split("\n")}}


def main(arguments: list[str]) -> int:
    files = {COLLECTION: collection(), ENVIRONMENT: environment()}
    return max(publish(file, text_of(content), arguments, "python -m ops.contracts.postman") for file, content in files.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
