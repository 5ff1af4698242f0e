"""Calls made with the client that openapi-generator writes for Python."""

import json
import sys

from openapi_client import ApiClient, ApiException, Configuration, ExpectPayment, OperatorsApi, ServicesApi

host, token = sys.argv[1:]
with ApiClient(Configuration(host=host, api_key={"internalToken": token})) as client:
    services, operators = ServicesApi(client), OperatorsApi(client)
    expected = services.payments_expect(ExpectPayment(reference="order-7", amount=9_000_000_000, currency="eur"))
    page = operators.admin_deliveries(source="stripe", limit=1)
    delivery = operators.admin_delivery(str(page.items[0].id))
    try:
        operators.admin_payment("pi_absent")
    except ApiException as refusal:
        problem = refusal.data
sys.stdout.write(json.dumps([expected.reference, expected.reconciliation, str(delivery.id), delivery.event_id, problem.reason]))
