-- These statements write everything that the payments of one day leave behind.
-- Each payment gets one row in every table that has a row for each payment.
create temporary table made on commit drop as
select n, at, pg_temp.id_at(at, 'event' || n) as id, case when n %% 10 = 0 then pg_temp.id_at(at, 'other' || n) end as other, md5('trace' || n) as trace,
  'user_' || n %% %(users)s as user_id, 'cus_' || n %% %(users)s as customer, token, 'pi_' || token as payment, 'evt_' || token as evt
from (
  select n, at, pg_temp.stripe_token(at, %(account)s, n) as token
  from (
    select n, %(begin)s::timestamptz + (n - %(first)s) * (interval '1 day' / %(number)s) as at
    from generate_series(%(first)s::int, %(first)s::int + %(number)s::int - 1) n) moments) t;

insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data, livemode)
select id, 'webhooks.stripe', 'payment', payment, '/webhooks/stripe', 'com.stripe.payment_intent.succeeded', %(dataschema)s, at,
  '00-' || trace || '-' || left(trace, 16) || '-01',
  convert_to('{"id":"' || evt || '","object":"event","type":"payment_intent.succeeded","livemode":true,"data":{"object":{"id":"'
    || payment || '","object":"payment_intent","amount":1999,"currency":"eur"}}}', 'UTF8'), true
from made;
insert into consumed (event_id, consumer, at) select id, 'payments', at from made;
insert into dedup (source, provider_event_id, event_id) select 'stripe', evt, id from made;
insert into webhook_deliveries (id, source, provider_event_id, type, outcome, event_id, trace_id, secret_id, client, livemode)
select id, 'stripe', evt, 'payment_intent.succeeded', 'accepted', id, trace, '00000000', '192.0.2.1', true from made;
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'payment', payment, id, evt, 'payment_intent.succeeded', at from made;
insert into payments (provider, id, status, amount, amount_refunded, currency, reference, customer_id, user_id, version,
  updated_at, state, livemode)
select 'stripe', payment, case n %% 50 when 0 then 'refunded' when 1 then 'failed' else 'succeeded' end, 1999,
  case n %% 50 when 0 then 1999 else 0 end, 'eur', payment, customer, user_id, 1, at, '{}', true
from made;
insert into reconciliations (reference, expected_amount, expected_currency, paid_amount, paid_currency, payment_id)
select payment, case when n %% 10 > 0 then 1999 end, case when n %% 10 > 0 then 'eur' end, 1999, 'eur', payment from made;

-- The rows that only one in 10, 100, 1,000 or 10,000 payments has.
insert into notifications (id, recipient, channel, template, data, address, message_id, status, attempts, reason, traceparent,
  updated_at)
select other, user_id, (array['EMAIL', 'SMS', 'PUSH'])[1 + n %% 3], 'payment-received', '{}', user_id || '@example.com', other,
  case when n %% 1000 = 0 then 'failed' else 'sent' end, 1, case when n %% 1000 = 0 then 'refused' end,
  '00-' || trace || '-' || left(trace, 16) || '-01', at
from made where n %% 10 = 0;
insert into audit_log (id, role, secret_id, method, path, status, trace_id, duration_ms)
select other, 'service', '00000000', 'POST', '/internal/v1/notifications/send', 202, trace, 5 from made where n %% 10 = 0;
insert into webhook_deliveries (id, source, provider_event_id, type, outcome, event_id, trace_id, secret_id, client, livemode)
select other, 'stripe', evt, 'payment_intent.succeeded', 'duplicate', id, trace, '00000000', '192.0.2.1', true
from made where n %% 100 = 0;
insert into webhook_deliveries (id, source, outcome, reason, trace_id, client, headers, body)
select pg_temp.id_at(at, 'rejected' || n), 'stripe', 'rejected', 'signature_wrong', trace, '192.0.2.1', '{}', '{}'
from made where n %% 1000 = 0;
insert into subscriptions (provider, id, status, customer_id, current_period_end, version, updated_at, state, livemode)
select 'stripe', 'sub_' || token, 'active', customer, at + interval '30 days', 1, at, '{}', true from made where n %% 100 = 0;
insert into invoices (provider, id, status, amount_due, amount_paid, currency, customer_id, subscription_id, payment_id, version,
  updated_at, state, livemode)
select 'stripe', 'in_' || token, 'paid', 1999, 1999, 'eur', customer, 'sub_' || token, payment, 1, at, '{}', true
from made where n %% 100 = 0;
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
  attempts, failures)
select other, 'P' || n / 100 %% 20, 'p' || n / 100 %% 20, token, case when n %% 1000 = 0 then 'exhausted' else 'delivered' end, '{}',
  '00-' || trace || '-' || left(trace, 16) || '-01', at, at, 2, 1, case when n %% 1000 = 0 then 1 else 0 end
from made where n %% 100 = 0;
insert into lead_attempts (lead_id, attempt, started_at, ended_at, status, error)
select other, 1, at, at + interval '1 second', case when n %% 1000 = 0 then 503 else 200 end,
  case when n %% 1000 = 0 then 'http_503' end
from made where n %% 100 = 0;
insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id, trace_id, status, created_at,
  settled_at)
select pg_temp.id_at(at, 'letter' || n), 'search', 'payload_invalid', 'Expected `object`', 'property.events', 0, n, '[]', other,
  trace, case when n %% 10000 = 0 then 'open' else 'retried' end, at, case when n %% 10000 > 0 then at end
from made where n %% 1000 = 0;
insert into config_history (key, version, value, id, changed_at, changed_by)
select 'key-' || n / 10000 %% 10, n, 'true', other, at, '00000000' from made where n %% 10000 = 0;
insert into erasures (id, kind, subject, reason, requested_by, state, stage, created_at, touched_at, finished_at)
select other, 'user', sha256(user_id::bytea), 'asked', '00000000', 'done', 'done', at, at, at from made where n %% 10000 = 0;
insert into webhook_replays (id, state, requested_by, filters, rate, matched, created_at, finished_at)
select pg_temp.id_at(%(begin)s, 'replay' || %(first)s), 'done', '00000000', '{}', 100, count(*), %(begin)s, %(begin)s
from made where n %% 100 = 0;
insert into webhook_replay_items (replay_id, n, delivery_id, source, type, outcome, event_id, state, enqueued_at)
select pg_temp.id_at(%(begin)s, 'replay' || %(first)s), row_number() over (order by n), id, 'stripe', 'payment_intent.succeeded',
  'accepted', id, 'processed', at
from made where n %% 100 = 0;
