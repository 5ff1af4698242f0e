// Calls made with the client that openapi-generator writes for TypeScript and axios.
import { isAxiosError } from "axios";
import { Configuration, OperatorsApi, type Problem, ServicesApi } from "./index";

declare const process: { argv: string[] };

async function main(host: string, token: string): Promise<void> {
  const configuration = new Configuration({ basePath: host, apiKey: token });
  const services = new ServicesApi(configuration);
  const operators = new OperatorsApi(configuration);
  const expectPayment = { reference: "order-7", amount: 9_000_000_000, currency: "eur" };
  const expected = (await services.paymentsExpect({ expectPayment })).data;
  const page = (await operators.adminDeliveries({ source: "stripe", limit: 1 })).data;
  const delivery = (await operators.adminDelivery({ id: page.items[0].id })).data;
  const refusal: unknown = await operators.adminPayment({ id: "pi_absent" }).catch((error: unknown) => error);
  if (!isAxiosError<Problem>(refusal)) throw new Error("this payment is there");
  const reason = refusal.response?.data.reason;
  console.log(JSON.stringify([expected.reference, expected.reconciliation, delivery.id, delivery.eventId, reason]));
}

void main(process.argv[2], process.argv[3]);
