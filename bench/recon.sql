-- So many payments of one merchant, captured over a month that ended a week ago, each with its capture and its fee in the ledger.

create schema recon;

create function recon.id(at timestamptz, salt text) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(salt), 1, 3) || '8' || substr(md5(salt), 4, 15))::uuid $$;

create table recon.plan as
select n, at, 'sim_' || substr(md5('r' || n), 1, 24) as reference, 500 + (n::bigint * 104729) %% 120000 as amount, 30 + (n %% 90) as fee, 1 + (n - 1) / 10000 as batch,
  recon.id(at, 'p' || n) as payment_id, recon.id(at, 'o' || n) as order_id, recon.id(at, 'a' || n) as attempt_id, recon.id(at, 'c' || n) as capture_id,
  'pay_' || substr(md5('p' || n), 1, 26) as clear_key, 'cap_' || substr(md5('c' || n), 1, 26) as capture
from (select n, now() - interval '37 days' + n * (interval '30 days' / %(rows)s) as at from generate_series(1, %(rows)s::int) n) g order by n;

insert into payment (merchant_id, id, order_id, order_reference, connection_id, status, capture_mode, currency, amount_minor, authorised_minor,
    capture_reserved_minor, captured_minor, refund_reserved_minor, refunded_minor, psp_fee_minor, platform_fee_minor, rest_released, provider_reference,
    method_kind, method_brand, last4, method_expiry, buyer_name, buyer_name_lc, buyer_email, buyer_email_lc, created_by, created_at, updated_at)
  select %(merchant)s, payment_id, order_id, 'HR-' || n, %(connection)s, 'captured', 'automatic', 'EUR', amount, amount, amount, amount, 0, 0, fee, 0, true,
    reference, 'card', 'visa', '4242', '08/29', 'Lena Hoffmann', 'lena hoffmann', 'lena@buyers.example', 'lena@buyers.example', 'Storefront', at, at
  from recon.plan order by n;

insert into payment_attempt (merchant_id, id, payment_id, connection_id, operation, amount_minor, outcome, provider_reference, latency_ms, created_by,
    created_at, finished_at)
  select %(merchant)s, attempt_id, payment_id, %(connection)s, 'authorise', amount, 'succeeded', reference, 120, 'Storefront', at, at from recon.plan order by n;

insert into payment_operation (merchant_id, id, payment_id, attempt_id, kind, number, status, amount_minor, split, is_final, reason, created_by, created_at, updated_at)
  select %(merchant)s, capture_id, payment_id, attempt_id, 'capture', 1, 'succeeded', amount, '{}', true, '', 'Storefront', at, at from recon.plan order by n;

insert into ledger.txn (merchant_id, id, kind, source_type, source_id, event_key, req_hash, effective_on, posted_at) overriding system value
  select %(merchant)s, 2 * n - k, case k when 1 then 'payment.captured' else 'payment.psp_fee' end, 'payment', payment_id,
    case k when 1 then 'capture:' else 'pspfee:' end || capture, '\x00', at::date, at from recon.plan, generate_series(0, 1) k order by 2;

insert into ledger.entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on, clear_key)
  select %(merchant)s, 2 * n - k, l.line, l.account, 'EUR', l.side, l.amount, at::date, l.key from recon.plan, lateral (values
      (1, 1, %(receivable)s::bigint, 1, amount, clear_key), (1, 2, %(seller)s::bigint, -1, amount, null),
      (0, 1, %(receivable)s::bigint, -1, fee, clear_key), (0, 2, %(fees)s::bigint, 1, fee, null)) l(k, line, account, side, amount, key) order by 2, 3;

select setval(pg_get_serial_sequence('ledger.txn', 'id'), 2 * %(rows)s::bigint + 1);
