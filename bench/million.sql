-- A merchant with :rows payments over twelve months, and a tenth as many of other merchants in between. Written in the order of time, so that
-- ids, which carry the time, come in the order they would have come in. One row of the plan becomes the rows of all tables.

create schema million;

create function million.id(at timestamptz, salt text) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(salt), 1, 3) || '8' || substr(md5(salt), 4, 15))::uuid $$;

create unlogged table million.plan as
select n, merchant_id, at, status, currency, amount, brand, last4, name, lower(replace(name, ' ', '.')) || customer || '@buyers.example' as email,
  million.id(at, 'p' || n) as payment_id, million.id(at - interval '20 s', 'o' || n) as order_id, million.id(at + interval '1 ms', 'a' || n) as attempt_id,
  million.id(at + interval '2 ms', 'e' || n) as created_event, million.id(at + interval '400 ms', 'd' || n) as decided_event,
  million.id(at + interval '400 ms', 'c' || n) as capture_id, sellers[1 + n % cardinality(sellers)] as seller_id,
  case when n % 5 < 2 then sellers[1 + (n * 7 + 3) % cardinality(sellers)] end as second_id, connections[1 + (n / 3) % cardinality(connections)] as connection_id,
  amount / 10 + 25 as fee, status in ('captured', 'refunded', 'partially_refunded') as is_captured,
  case status when 'refunded' then amount when 'partially_refunded' then amount / 3 else 0 end as refunded
from (
  select n, customer, merchant_id, at, sellers, connections, 300 + (n::bigint * 104729) % 120000 as amount,
    case when chance < 860 then 'captured' when chance < 925 then 'failed' when chance < 950 then 'refunded' when chance < 965 then 'partially_refunded'
      when chance < 985 then 'voided' when chance < 999 then 'expired' when until_now < interval '7 days' then 'authorised' else 'captured' end as status,
    case when chance % 10 < 7 then 'EUR' when chance % 10 < 9 then 'USD' else 'GBP' end as currency,
    (array['visa','mastercard','amex','visa'])[1 + customer % 4] as brand, lpad((customer * 7919::bigint % 10000)::text, 4, '0') as last4,
    (array['Lena','Ana','Marta','Sam','Oliver','Aiko','Paul','Sanne','Erik','Camille','Giulia','Niamh','Jonas','Ines','Otto','Vera','Nils','Zoe','Ida','Max'])[1 + customer % 20]
      || ' ' || (array['Hoffmann','Ribeiro','Nowak','Whitaker','Grant','Tanaka','Mercier','Vries','Baumann','Laurent','Conti','Byrne','Lindqvist','Okafor','Brandt','Keller',
        'Olsen','Santos','Weiss','Moreau','Silva','Rossi','Novak','Dubois','Larsen','Fischer','Wolf','Berg','Haas','Lang'])[1 + customer / 20 % 30] as name
  from (
    select n, now() - (total - n) * interval '365 days' / total as at, (total - n) * interval '365 days' / total as until_now,
      (hashint4(n) & 65535) % 1000 as chance, (hashint4(n + 1) & 1048575) % 60000 as customer, sellers, connections,
      case when n % 11 = 5 then others[1 + n / 11 % cardinality(others)] else main end as merchant_id
    from (select %(merchant)s::uuid as main, %(others)s::uuid[] as others, %(sellers)s::uuid[] as sellers, %(connections)s::uuid[] as connections,
            (%(rows)s * 11 / 10)::int as total) given, generate_series(1, total) n) dice) drawn
order by n;

insert into sales_order (merchant_id, id, reference, status, currency, total_minor, captured_minor, refunded_minor, buyer_name, buyer_email, buyer_email_lc,
    description, details, created_at, updated_at)
  select merchant_id, order_id, 'HR-' || (100000 + n), case when status = 'authorised' then 'open' when is_captured then replace(status, 'captured', 'paid') else 'open' end,
    currency, amount, case when is_captured then amount else 0 end, refunded, name, email, email, '', '{}', at - interval '20 s', at from million.plan order by n;

insert into sales_order_line (merchant_id, order_id, position, seller_id, description, quantity, amount_minor)
  select merchant_id, order_id, 0, seller_id, 'Oak chair', 1, amount - case when second_id is null then 0 else amount / 3 end from million.plan order by n;
insert into sales_order_line (merchant_id, order_id, position, seller_id, description, quantity, amount_minor)
  select merchant_id, order_id, 1, second_id, 'Desk lamp', 1, amount / 3 from million.plan where second_id is not null order by n;

insert into payment (merchant_id, id, order_id, order_reference, connection_id, status, capture_mode, currency, amount_minor, authorised_minor,
    capture_reserved_minor, captured_minor, refund_reserved_minor, refunded_minor, psp_fee_minor, platform_fee_minor, rest_released, provider_reference,
    method_kind, method_brand, last4, method_expiry, failure_code, failure_message, buyer_name, buyer_name_lc, buyer_email, buyer_email_lc, created_by,
    created_at, updated_at, expires_at)
  select merchant_id, payment_id, order_id, 'HR-' || (100000 + n), connection_id, status, case when status in ('authorised', 'voided') then 'manual' else 'automatic' end,
    currency, amount, case when status = 'failed' then 0 else amount end, case when is_captured then amount else 0 end, case when is_captured then amount else 0 end,
    refunded, refunded, case when is_captured then amount / 40 else 0 end, case when is_captured then fee else 0 end, is_captured, 'sim_' || md5(n::text),
    'card', brand, last4, '08/29', case when status = 'failed' then 'insufficient_funds' end, case when status = 'failed' then 'Insufficient funds' end,
    name, lower(name), email, email, 'Storefront', at, at + interval '400 ms', case when status = 'authorised' then at + interval '7 days' end
  from million.plan order by n;

insert into payment_part (merchant_id, payment_id, seller_id, amount_minor, fee_minor, captured_minor, fee_captured_minor)
  select merchant_id, payment_id, seller_id, part, fee, case when is_captured then part else 0 end, case when is_captured then fee else 0 end
    from (select n, merchant_id, payment_id, seller_id, amount - case when second_id is null then 0 else amount / 3 end as part, least(fee, amount / 2) as fee, is_captured
            from million.plan) p order by n;
insert into payment_part (merchant_id, payment_id, seller_id, amount_minor, fee_minor, captured_minor, fee_captured_minor)
  select merchant_id, payment_id, second_id, amount / 3, 0, case when is_captured then amount / 3 else 0 end, 0
    from million.plan where second_id is not null and second_id <> seller_id order by n;

insert into payment_attempt (merchant_id, id, payment_id, connection_id, operation, amount_minor, outcome, provider_reference, code, message, latency_ms,
    created_by, created_at, finished_at)
  select merchant_id, attempt_id, payment_id, connection_id, 'authorise', amount, case when status = 'failed' then 'declined' else 'succeeded' end,
    'sim_' || md5(n::text), case when status = 'failed' then 'insufficient_funds' end, case when status = 'failed' then 'Insufficient funds' end,
    120 + n % 700, 'Storefront', at, at + interval '400 ms' from million.plan order by n;

insert into payment_event (merchant_id, id, payment_id, at, kind, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
  select merchant_id, created_event, payment_id, at, 'payment.created', 'processing', amount, 'api_key', 'Storefront', attempt_id, '{}' from million.plan order by n;
insert into payment_event (merchant_id, id, payment_id, at, kind, from_status, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
  select merchant_id, decided_event, payment_id, at + interval '400 ms', 'payment.' || case when is_captured then 'captured' else status end, 'processing',
    case when is_captured then 'captured' else status end, amount, 'api_key', 'Storefront', attempt_id, '{}' from million.plan order by n;

insert into payment_operation (merchant_id, id, payment_id, attempt_id, kind, number, status, amount_minor, split, is_final, reason, created_by, created_at, updated_at)
  select merchant_id, capture_id, payment_id, attempt_id, 'capture', 1, 'succeeded', amount,
    jsonb_build_object('shares', jsonb_build_array(jsonb_build_object('seller_id', seller_id, 'amount_minor', amount, 'fee_minor', fee)), 'taken', '{}'::jsonb),
    true, '', 'Storefront', at + interval '400 ms', at + interval '400 ms' from million.plan where is_captured order by n;

insert into payment_hour (merchant_id, hour_at, currency, connection_id, started, succeeded, failed, captures, captured_minor, refunds, refunded_minor,
    psp_fee_minor, platform_fee_minor)
  select merchant_id, date_trunc('hour', at, 'UTC'), currency, connection_id, count(*), count(*) filter (where status <> 'failed'),
    count(*) filter (where status = 'failed'), count(*) filter (where is_captured), coalesce(sum(amount) filter (where is_captured), 0),
    count(*) filter (where refunded > 0), sum(refunded), coalesce(sum(amount / 40) filter (where is_captured), 0), coalesce(sum(fee) filter (where is_captured), 0)
  from million.plan group by 1, 2, 3, 4;
insert into payment_day (merchant_id, day_on, currency, connection_id, started, succeeded, failed, captures, captured_minor, refunds, refunded_minor,
    psp_fee_minor, platform_fee_minor)
  select merchant_id, (hour_at at time zone 'UTC')::date, currency, connection_id, sum(started), sum(succeeded), sum(failed), sum(captures),
    sum(captured_minor), sum(refunds), sum(refunded_minor), sum(psp_fee_minor), sum(platform_fee_minor)
  from payment_hour group by 1, 2, 3, 4;
insert into seller_day (merchant_id, day_on, currency, seller_id, sales, sold_minor, fee_minor, refunded_minor)
  select merchant_id, (at at time zone 'UTC')::date, currency, seller_id, count(*), sum(amount), sum(fee), sum(refunded)
  from million.plan where is_captured group by 1, 2, 3, 4;
insert into report_progress (merchant_id, through_id, counted_at)
  select distinct on (merchant_id) merchant_id, decided_event, now() from million.plan order by merchant_id, n desc;
