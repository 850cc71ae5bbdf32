-- What a PSP collected, recorded in one round trip: attempt, payment, the sellers' parts, the operation, the day the funds become available,
-- history, event, order, ledger and, when this answers a request, its idempotency key. Whoever calls has computed the shares, the journal
-- and the next state; here they are guarded: if the payment is not as the caller saw it, nothing is written (payment_moved).

CREATE FUNCTION payment_take(p_merchant uuid, p_payment uuid, p_attempt uuid, p_operation uuid, p_at timestamptz, p_at_once boolean,
  p_from text, p_to text, p_captured_before bigint, p_amount bigint, p_is_final boolean,
  p_sellers uuid[], p_amounts bigint[], p_fees bigint[], p_psp_fee bigint, p_default_days integer,
  p_provider_reference text, p_method text[], p_message text, p_evidence jsonb, p_latency bigint,
  p_actor_kind text, p_actor_name text, p_actor_id uuid, p_request_id text, p_event uuid, p_outbox uuid, p_payload jsonb,
  l_on date, l_kind text[], l_key text[], l_of int[], l_code text[], l_owner_type text[], l_owner uuid[], l_side smallint[], l_amount bigint[], l_clear text[],
  f_key text DEFAULT NULL, f_status bigint DEFAULT NULL, f_body bytea DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE p payment; n int := cardinality(l_kind);
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  UPDATE payment t SET status = p_to, updated_at = p_at, authorised_minor = t.amount_minor, captured_minor = t.captured_minor + p_amount,
      capture_reserved_minor = CASE WHEN p_at_once THEN t.amount_minor ELSE t.capture_reserved_minor END,
      platform_fee_minor = t.platform_fee_minor + (SELECT coalesce(sum(fee), 0) FROM unnest(p_fees) fee), psp_fee_minor = t.psp_fee_minor + p_psp_fee,
      rest_released = t.rest_released OR p_is_final, expires_at = CASE WHEN p_is_final THEN NULL ELSE t.expires_at END,
      provider_reference = CASE WHEN p_at_once THEN coalesce(p_provider_reference, t.provider_reference) ELSE t.provider_reference END,
      failure_code = NULL, failure_message = NULL,
      method_kind = coalesce(p_method[1], t.method_kind), method_brand = coalesce(p_method[2], t.method_brand), last4 = coalesce(p_method[3], t.last4),
      method_expiry = coalesce(p_method[4], t.method_expiry), method_fingerprint = coalesce(p_method[5], t.method_fingerprint)
    WHERE t.merchant_id = p_merchant AND t.id = p_payment AND t.status = p_from AND t.captured_minor = p_captured_before
    RETURNING * INTO p;
  IF NOT FOUND THEN RAISE EXCEPTION 'payment moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  UPDATE payment_attempt t SET outcome = 'succeeded', provider_reference = coalesce(p_provider_reference, t.provider_reference), code = NULL,
      message = p_message, evidence = p_evidence, latency_ms = p_latency, next_ask_at = NULL, finished_at = p_at
    WHERE t.merchant_id = p_merchant AND t.id = p_attempt AND (t.outcome IS NULL OR t.outcome IN ('pending', 'unknown'));
  IF NOT FOUND THEN RAISE EXCEPTION 'attempt moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  UPDATE payment_part t SET captured_minor = t.captured_minor + u.amount, fee_captured_minor = t.fee_captured_minor + u.fee
    FROM unnest(p_sellers, p_amounts, p_fees) u(seller, amount, fee)
    WHERE t.merchant_id = p_merchant AND t.payment_id = p_payment AND t.seller_id = u.seller;
  IF p_at_once THEN
    INSERT INTO payment_operation (merchant_id, id, payment_id, attempt_id, kind, number, status, amount_minor, split, is_final, reason, created_by, created_at, updated_at)
      SELECT p_merchant, p_operation, p_payment, p_attempt, 'capture', 1, 'succeeded', p_amount,
             jsonb_build_object('shares', jsonb_agg(jsonb_build_object('seller_id', seller, 'amount_minor', amount, 'fee_minor', fee)), 'taken', '{}'::jsonb),
             p_is_final, '', p_actor_name, p_at, p_at
        FROM unnest(p_sellers, p_amounts, p_fees) u(seller, amount, fee);
  ELSE
    UPDATE payment_operation t SET status = 'succeeded', updated_at = p_at
      WHERE t.merchant_id = p_merchant AND t.id = p_operation AND t.attempt_id = p_attempt AND t.status IN ('sending', 'pending', 'unknown');
    IF NOT FOUND THEN RAISE EXCEPTION 'operation moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  END IF;
  PERFORM wallet_schedule_release(p_merchant, p_payment, p_operation, p.currency, p_sellers,
    ARRAY(SELECT amount - fee FROM unnest(p_amounts, p_fees) u(amount, fee)), p_at, p_default_days);
  INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, from_status, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
    VALUES (p_merchant, p_event, p_payment, p_at, 'payment.captured', p_from, p_to, p_amount, p_actor_kind, p_actor_name, p_attempt,
      jsonb_strip_nulls(jsonb_build_object('message', p_message, 'psp_fee_minor', nullif(p_psp_fee, 0))));
  INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
    VALUES (p_outbox, p_merchant, 'payment.captured', p_payload, p_payment, p_at, p_at);
  IF f_key IS NOT NULL THEN
    UPDATE idempotency_key SET status = f_status, body = f_body, finished_at = p_at WHERE merchant_id = p_merchant AND key = f_key;
  END IF;
  PERFORM order_record_collected(p_merchant, p.order_id, p.captured_minor, p.refunded_minor, p_at);
  -- last, because here are the rows that many payments share
  IF n = 1 THEN
    PERFORM ledger.post1(p_merchant, l_kind[1], 'payment', p_payment, l_key[1], l_on, l_code, l_owner_type, l_owner,
      array_fill(p.currency, ARRAY[cardinality(l_code)]), l_side, l_amount, l_clear, p_actor_kind, p_actor_id, p_request_id,
      p.order_reference);
  ELSE
    PERFORM ledger.post(p_merchant, l_kind, array_fill('payment'::text, ARRAY[n]), array_fill(p_payment, ARRAY[n]), l_key, array_fill(l_on, ARRAY[n]),
      l_of, l_code, l_owner_type, l_owner, array_fill(p.currency, ARRAY[cardinality(l_code)]), l_side, l_amount, l_clear, p_actor_kind, p_actor_id, p_request_id,
      array_fill(p.order_reference, ARRAY[n]));
  END IF;
END $$;
