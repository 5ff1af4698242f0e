\set random random(1, 1000000000000000000)
begin;
insert into dedup (source, provider_event_id, event_id)
values ('stripe', 'evt_' || lpad(cast(:random as text), 24, '0'),
        cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as int8)), 12, '0') || '7000a'
             || lpad(to_hex(cast(:random as int8)), 15, '0') as uuid))
on conflict do nothing;
insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
values (cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as int8)), 12, '0') || '7000a'
             || lpad(to_hex(cast(:random as int8)), 15, '0') as uuid),
        'webhooks.stripe', 'payment', 'pi_' || lpad(cast(:random as text), 24, '0'), '/webhooks/stripe',
        'com.stripe.payment_intent.succeeded', cast(:dataschema as text), now(),
        '00-0123456789abcdef0123456789abcdef-0123456789abcdef-01', convert_to(cast(:body as text), 'UTF8'));
insert into outbox_pending (event_id, shard)
values (cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as int8)), 12, '0') || '7000a'
             || lpad(to_hex(cast(:random as int8)), 15, '0') as uuid),
        crc32(convert_to('pi_' || lpad(cast(:random as text), 24, '0'), 'UTF8')) % 64);
insert into webhook_deliveries (id, source, provider_event_id, type, outcome, event_id, trace_id, secret_id)
values (cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as int8)), 12, '0') || '7000a'
             || lpad(to_hex(cast(:random as int8)), 15, '0') as uuid),
        'stripe', 'evt_' || lpad(cast(:random as text), 24, '0'), 'payment_intent.succeeded', 'accepted',
        cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as int8)), 12, '0') || '7000a'
             || lpad(to_hex(cast(:random as int8)), 15, '0') as uuid),
        '0123456789abcdef0123456789abcdef', '0a1b2c3d');
commit;
