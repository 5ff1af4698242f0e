with received as materialized (select uuidv7() as id),
named as materialized (
  select id, 'evt_' || right(id::text, 24) as event, 'pi_' || right(id::text, 24) as payment,
         replace(id::text, '-', '') as trace_id from received),
fresh as (
  insert into dedup (source, provider_event_id, event_id) select 'stripe', event, id from named
  on conflict do nothing returning event_id),
logged as (
  insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
  select id, 'webhooks.stripe', 'payment', payment, '/webhooks/stripe', 'com.stripe.payment_intent.succeeded',
         cast(:dataschema as text), now(), '00-' || trace_id || '-' || right(trace_id, 16) || '-01',
         convert_to(cast(:body as text), 'UTF8')
  from named join fresh on fresh.event_id = named.id),
listed as (
  insert into outbox_pending (event_id, shard)
  select id, crc32(convert_to(payment, 'UTF8')) % 64 from named join fresh on fresh.event_id = named.id)
insert into webhook_deliveries (id, source, provider_event_id, type, outcome, event_id, trace_id, secret_id)
select id, 'stripe', event, 'payment_intent.succeeded', 'accepted', id, trace_id, '0a1b2c3d'
from named join fresh on fresh.event_id = named.id;
