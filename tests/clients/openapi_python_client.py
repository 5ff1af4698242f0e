"""Calls made with the client that openapi-python-client writes."""

import json
import sys

from tallyhook_client import AuthenticatedClient
from tallyhook_client.api.operators import admin_deliveries, admin_delivery, admin_payment
from tallyhook_client.api.services import payments_expect
from tallyhook_client.models import ExpectPayment

host, token = sys.argv[1:]
client = AuthenticatedClient(host, token, prefix="", auth_header_name="X-Internal-Token", raise_on_unexpected_status=True)
expected = payments_expect.sync(client=client, body=ExpectPayment(reference="order-7", amount=9_000_000_000, currency="eur"))
page = admin_deliveries.sync(client=client, source="stripe", limit=1)
delivery = admin_delivery.sync(str(page.items[0].id), client=client)
problem = admin_payment.sync("pi_absent", client=client)
sys.stdout.write(json.dumps([expected.reference, expected.reconciliation, str(delivery.id), delivery.event_id, problem.reason]))
