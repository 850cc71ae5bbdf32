-- What PSPs collected, recorded in one round trip for as many payments as have their answer at the same moment: attempts, payments, the sellers'
-- parts, operations, the day the funds become available, history, events, orders, ledger and, where this answers a request, its idempotency key.
-- Whoever calls has computed the shares, the journals and the next state; here they are guarded: if one payment is not as the caller saw it,
-- nothing is written (payment_moved), and the caller records each alone.

-- One payment's taking, as the application sends it.
CREATE TYPE payment_taking AS (
  payment uuid, currency text, attempt uuid, operation uuid, at timestamptz, at_once boolean, from_status text, to_status text, captured_before bigint, amount bigint,
  is_final boolean, sellers uuid[], amounts bigint[], fees bigint[], platform_fee bigint, psp_fee bigint, provider_reference text, method text[],
  message text, evidence jsonb, latency bigint, actor_kind text, actor_name text, event uuid, outbox uuid, payload jsonb,
  finish_key text, finish_status bigint, finish_body text);

-- The journals of all of them as ledger.post wants them, one column an array.
CREATE TYPE payment_journal AS (
  kinds text[], source_ids uuid[], event_keys text[], effective_ons date[], descriptions text[], lines_of int[], codes text[], owner_types text[],
  owners uuid[], currencies text[], sides smallint[], amounts bigint[], clear_keys text[], actor_kinds text[], actor_ids uuid[], request_ids text[]);

CREATE FUNCTION payments_take(p_merchant uuid, p_takings json, p_journal json, p_default_days integer) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE takings payment_taking[]; j payment_journal := json_populate_record(NULL::payment_journal, p_journal); n bigint; written bigint;
  payments uuid[]; attempts uuid[]; keys text[];   -- named again in each condition, so that an index is used whatever the statistics say
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(t ORDER BY t.payment), count(*), array_agg(t.payment), array_agg(t.attempt), array_agg(t.finish_key) INTO takings, n, payments, attempts, keys
    FROM json_populate_recordset(NULL::payment_taking, p_takings) t;
  UPDATE payment p SET status = t.to_status, updated_at = t.at, authorised_minor = p.amount_minor, captured_minor = p.captured_minor + t.amount,
      capture_reserved_minor = CASE WHEN t.at_once THEN p.amount_minor ELSE p.capture_reserved_minor END,
      platform_fee_minor = p.platform_fee_minor + t.platform_fee, psp_fee_minor = p.psp_fee_minor + t.psp_fee,
      rest_released = p.rest_released OR t.is_final, expires_at = CASE WHEN t.is_final THEN NULL ELSE p.expires_at END,
      provider_reference = CASE WHEN t.at_once THEN coalesce(t.provider_reference, p.provider_reference) ELSE p.provider_reference END,
      failure_code = NULL, failure_message = NULL,
      method_kind = coalesce(t.method[1], p.method_kind), method_brand = coalesce(t.method[2], p.method_brand), last4 = coalesce(t.method[3], p.last4),
      method_expiry = coalesce(t.method[4], p.method_expiry), method_fingerprint = coalesce(t.method[5], p.method_fingerprint)
    FROM unnest(takings) t
    WHERE p.merchant_id = p_merchant AND p.id = ANY (payments) AND p.id = t.payment AND p.status = t.from_status AND p.captured_minor = t.captured_before;
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> n THEN RAISE EXCEPTION 'payment moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  UPDATE payment_attempt a SET outcome = 'succeeded', provider_reference = coalesce(t.provider_reference, a.provider_reference), code = NULL,
      message = t.message, evidence = t.evidence, latency_ms = t.latency, next_ask_at = NULL, finished_at = t.at
    FROM unnest(takings) t
    WHERE a.merchant_id = p_merchant AND a.id = ANY (attempts) AND a.id = t.attempt AND (a.outcome IS NULL OR a.outcome IN ('pending', 'unknown'));
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> n THEN RAISE EXCEPTION 'attempt moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  UPDATE payment_part p SET captured_minor = p.captured_minor + u.amount, fee_captured_minor = p.fee_captured_minor + u.fee
    FROM unnest(takings) t, unnest(t.sellers, t.amounts, t.fees) u(seller, amount, fee)
    WHERE p.merchant_id = p_merchant AND p.payment_id = ANY (payments) AND p.payment_id = t.payment AND p.seller_id = u.seller;
  WITH made AS (
    INSERT INTO payment_operation (merchant_id, id, payment_id, attempt_id, kind, number, status, amount_minor, split, is_final, reason, created_by,
        created_at, updated_at)
      SELECT p_merchant, t.operation, t.payment, t.attempt, 'capture', 1, 'succeeded', t.amount,
             jsonb_build_object('shares', (SELECT jsonb_agg(jsonb_build_object('seller_id', seller, 'amount_minor', amount, 'fee_minor', fee))
               FROM unnest(t.sellers, t.amounts, t.fees) u(seller, amount, fee)), 'taken', '{}'::jsonb), t.is_final, '', t.actor_name, t.at, t.at
        FROM unnest(takings) t WHERE t.at_once RETURNING 1),
  noted AS (
    INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, from_status, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
      SELECT p_merchant, t.event, t.payment, t.at, 'payment.captured', t.from_status, t.to_status, t.amount, t.actor_kind, t.actor_name, t.attempt,
             jsonb_strip_nulls(jsonb_build_object('message', t.message, 'psp_fee_minor', nullif(t.psp_fee, 0))) FROM unnest(takings) t),
  told AS (
    INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
      SELECT t.outbox, p_merchant, 'payment.captured', t.payload, t.payment, t.at, t.at FROM unnest(takings) t),
  answered AS (
    UPDATE idempotency_key k SET status = t.finish_status, body = convert_to(t.finish_body, 'UTF8'), finished_at = t.at
      FROM unnest(takings) t WHERE k.merchant_id = p_merchant AND k.key = ANY (keys) AND k.key = t.finish_key AND k.status IS NULL)
  SELECT n - count(*) INTO n FROM made;
  IF n > 0 THEN
    UPDATE payment_operation o SET status = 'succeeded', updated_at = t.at
      FROM unnest(takings) t
      WHERE NOT t.at_once AND o.merchant_id = p_merchant AND o.id = t.operation AND o.attempt_id = t.attempt AND o.status IN ('sending', 'pending', 'unknown');
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> n THEN RAISE EXCEPTION 'operation moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  END IF;
  PERFORM wallets_schedule_release(p_merchant, p_default_days, array_agg(t.payment), array_agg(t.operation), array_agg(u.seller), array_agg(t.currency),
      array_agg(u.amount - u.fee), array_agg(t.at)) FROM unnest(takings) t, unnest(t.sellers, t.amounts, t.fees) u(seller, amount, fee);
  PERFORM orders_record_collected(p_merchant, array_agg(p.order_id ORDER BY p.order_id), array_agg(p.captured_minor ORDER BY p.order_id),
      array_agg(p.refunded_minor ORDER BY p.order_id), max(p.updated_at))
    FROM payment p WHERE p.merchant_id = p_merchant AND p.id = ANY (payments);
  -- last, because here are the rows that many payments share
  IF cardinality(j.kinds) = 1 THEN   -- a payment alone whose fee is not known yet, as with most providers
    PERFORM ledger.post1(p_merchant, j.kinds[1], 'payment', j.source_ids[1], j.event_keys[1], j.effective_ons[1], j.codes, j.owner_types, j.owners,
      j.currencies, j.sides, j.amounts, j.clear_keys, j.actor_kinds[1], j.actor_ids[1], j.request_ids[1], j.descriptions[1]);
    RETURN;
  END IF;
  PERFORM ledger.post(p_merchant, j.kinds, array_fill('payment'::text, ARRAY[cardinality(j.kinds)]), j.source_ids, j.event_keys, j.effective_ons,
    j.lines_of, j.codes, j.owner_types, j.owners, j.currencies, j.sides, j.amounts, j.clear_keys, j.actor_kinds, j.actor_ids, j.request_ids, j.descriptions);
END $$;
