// Calls made with openapi-fetch by the types that openapi-typescript writes.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

declare const process: { argv: string[] };

// What has a default in the gateway need not be given.
const bodies: [components["schemas"]["Invalidate"], components["schemas"]["ReplayWebhooks"]] = [
  { keys: ["user:7"] },
  { source: "stripe" },
];

async function main(host: string, token: string): Promise<void> {
  const client = createClient<paths>({ baseUrl: host, headers: { "X-Internal-Token": token } });
  const body = { reference: "order-7", amount: 9_000_000_000, currency: "eur" };
  const expected = (await client.POST("/internal/v1/payments/expect", { body })).data!;
  const query = { source: "stripe", limit: 1 };
  const page = (await client.GET("/v1/admin/webhooks/deliveries", { params: { query } })).data!;
  const path = { id: page.items[0].id };
  const delivery = (await client.GET("/v1/admin/webhooks/deliveries/{id}", { params: { path } })).data!;
  const { error } = await client.GET("/v1/admin/payments/{id}", { params: { path: { id: "pi_absent" } } });
  if (!error) throw new Error(`this payment is there, as are ${bodies.length} bodies`);
  console.log(JSON.stringify([expected.reference, expected.reconciliation, delivery.id, delivery.eventId, error.reason]));
}

void main(process.argv[2], process.argv[3]);
