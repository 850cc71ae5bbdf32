-- Captures, voids and refunds of payments, and every answer of a PSP that is not a taking, in calls that travel together (see payments_begin.sql and
-- payments_take.sql): look, ask, and record. Whoever calls has decided what an operation moves and what follows from an answer, by what it saw of the
-- payment; here it is guarded. `seen` is the payment's updated_at as the caller saw it, which every writer moves while it holds the row: if the payment
-- is another one by now, nothing is written (payment_moved), and the caller takes the long way.
--
-- Locks, always in this order: the keys, sorted; the payments, sorted; what belongs to them; orders; the ledger's balances.

-- Payments as they stand, with parts, operations and connection, each as JSON; those that are to be refunded also with the funds that are still pending
-- and the amount from which on others have to agree. Locks nothing.
CREATE FUNCTION payments_look(p_merchant uuid, p_payments uuid[], p_refunds uuid[]) RETURNS TABLE (id uuid, held text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  RETURN QUERY
  SELECT p.id, json_build_object('payment', row_to_json(p),
      'parts', (SELECT coalesce(json_agg(row_to_json(t) ORDER BY t.seller_id), '[]') FROM payment_part t
                 WHERE t.merchant_id = p_merchant AND t.payment_id = ANY (p_payments) AND t.payment_id = p.id),
      'operations', (SELECT coalesce(json_agg(row_to_json(o) ORDER BY o.id), '[]') FROM payment_operation o
                 WHERE o.merchant_id = p_merchant AND o.payment_id = ANY (p_payments) AND o.payment_id = p.id),
      'connection', (SELECT json_build_object('id', c.id, 'psp', c.psp, 'config', c.config, 'credentials', c.credentials) FROM psp_connection c
                 WHERE c.merchant_id = p_merchant AND c.id = p.connection_id),
      'funds', CASE WHEN p.id = ANY (p_refunds) THEN
        (SELECT coalesce(json_agg(json_build_object('id', f.id, 'seller_id', f.seller_id, 'left', f.amount_minor - f.taken_minor) ORDER BY f.id), '[]')
           FROM funds_release f WHERE f.merchant_id = p_merchant AND f.payment_id = p.id AND f.status = 'waiting') ELSE '[]' END,
      'approval_from', CASE WHEN p.id = ANY (p_refunds) THEN
        (SELECT min(r.from_minor) FROM approval_rule r WHERE r.merchant_id = p_merchant AND r.act = 'refund' AND r.currency = p.currency) END)::text
    FROM payment p WHERE p.merchant_id = p_merchant AND p.id = ANY (p_payments);
END $$;

-- One operation that is asked for.
CREATE TYPE payment_ask AS (
  key text, request text, lease timestamptz, payment uuid, seen timestamptz, standing text, connection uuid, attempt uuid, operation uuid, kind text, number bigint,
  amount bigint, split jsonb, is_final boolean, reason text, at timestamptz, ask timestamptz, event uuid, details jsonb, trail uuid, before jsonb,
  after jsonb, actor_kind text, actor_id uuid, actor_name text, address text, factor_at timestamptz, request_id text, sellers uuid[], amounts bigint[],
  fees bigint[], funds uuid[], takes bigint[]);

-- Commit to operations before a PSP hears of them: the keys, the attempts, the operations, what is reserved, history and trail; for a refund also the
-- sellers' parts, the pending funds it uses up and the ledger, where the sellers' money is set aside.
CREATE FUNCTION payments_ask(p_merchant uuid, p_asks json, p_journal json) RETURNS TABLE (attempt uuid, claim text, status bigint, body bytea, resource_id uuid)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE asks payment_ask[]; j payment_journal := json_populate_record(NULL::payment_journal, p_journal); claimed uuid[]; payments uuid[]; funds uuid[];
  written bigint;
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(a ORDER BY a.key, a.attempt) INTO asks FROM json_populate_recordset(NULL::payment_ask, p_asks) a;
  WITH fresh AS (
    INSERT INTO idempotency_key (merchant_id, key, fingerprint, resource_id, lease_until, created_at)
      SELECT p_merchant, a.key, decode(a.request, 'hex'), a.attempt, a.lease, a.at FROM unnest(asks) a ORDER BY a.key, a.attempt
      ON CONFLICT DO NOTHING RETURNING resource_id)
  SELECT array_agg(f.resource_id) INTO claimed FROM fresh f;
  IF cardinality(claimed) IS DISTINCT FROM cardinality(asks) THEN
    RETURN QUERY SELECT a.attempt, h.claim, h.status, h.body, h.resource_id
      FROM unnest(asks) a CROSS JOIN LATERAL idempotency_take_over(p_merchant, a.key, decode(a.request, 'hex'), a.lease, a.at) h
      WHERE a.attempt <> ALL (coalesce(claimed, '{}'));
    IF claimed IS NULL THEN RETURN; END IF;
    -- the journal is of all of them: those that are new are asked for alone
    IF cardinality(j.kinds) > 0 THEN RAISE EXCEPTION 'some are not new' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  END IF;
  asks := ARRAY(SELECT a FROM unnest(asks) a WHERE a.attempt = ANY (claimed) ORDER BY a.payment);
  payments := ARRAY(SELECT a.payment FROM unnest(asks) a);
  UPDATE payment p SET updated_at = a.at, capture_reserved_minor = p.capture_reserved_minor + CASE WHEN a.kind = 'capture' THEN a.amount ELSE 0 END,
      refund_reserved_minor = p.refund_reserved_minor + CASE WHEN a.kind = 'refund' THEN a.amount ELSE 0 END
    FROM unnest(asks) a WHERE p.merchant_id = p_merchant AND p.id = ANY (payments) AND p.id = a.payment AND p.updated_at = a.seen;
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> cardinality(asks) THEN RAISE EXCEPTION 'payment moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  IF cardinality(j.kinds) > 0 THEN
    UPDATE payment_part p SET refunded_minor = p.refunded_minor + u.amount, fee_returned_minor = p.fee_returned_minor + u.fee
      FROM unnest(asks) a, unnest(a.sellers, a.amounts, a.fees) u(seller, amount, fee)
      WHERE p.merchant_id = p_merchant AND p.payment_id = ANY (payments) AND p.payment_id = a.payment AND p.seller_id = u.seller;
    funds := ARRAY(SELECT unnest(a.funds) FROM unnest(asks) a);
    UPDATE funds_release f SET taken_minor = f.taken_minor + u.minor FROM unnest(asks) a, unnest(a.funds, a.takes) u(id, minor)
      WHERE f.merchant_id = p_merchant AND f.id = ANY (funds) AND f.id = u.id AND f.status = 'waiting' AND f.taken_minor + u.minor <= f.amount_minor;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(funds) THEN RAISE EXCEPTION 'funds moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  END IF;
  RETURN QUERY
  WITH ask AS MATERIALIZED (SELECT a.* FROM unnest(asks) a),
  tried AS (
    INSERT INTO payment_attempt (merchant_id, id, payment_id, connection_id, operation, amount_minor, next_ask_at, created_by, created_at)
      SELECT p_merchant, a.attempt, a.payment, a.connection, a.kind, a.amount, a.ask, a.actor_name, a.at FROM ask a),
  made AS (
    INSERT INTO payment_operation (merchant_id, id, payment_id, attempt_id, kind, number, status, amount_minor, split, is_final, reason, created_by,
        created_at, updated_at)
      SELECT p_merchant, a.operation, a.payment, a.attempt, a.kind, a.number, 'sending', a.amount, a.split, a.is_final, a.reason, a.actor_name, a.at, a.at
        FROM ask a),
  trail AS (
    INSERT INTO audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type, object_id,
        before, after, reason)
      SELECT p_merchant, a.trail, a.at, a.actor_kind, a.actor_id, a.actor_name, a.address, a.factor_at, a.request_id,
             'payment.' || a.kind || '_requested', 'payment', a.payment, a.before, a.after, nullif(a.reason, '') FROM ask a),
  noted AS (
    INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, from_status, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
      SELECT p_merchant, a.event, a.payment, a.at, a.kind || '.requested', a.standing, a.standing, a.amount, a.actor_kind, a.actor_name, a.attempt,
             a.details FROM ask a)
  SELECT a.attempt, 'new', NULL::bigint, NULL::bytea, a.attempt FROM ask a;
  PERFORM payments_post(p_merchant, j);   -- last, because here are the rows that many payments share
END $$;

-- Post the journals of payments, as ledger.post wants them; none is nothing.
CREATE FUNCTION payments_post(p_merchant uuid, j payment_journal) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF cardinality(j.kinds) = 1 THEN
    PERFORM ledger.post1(p_merchant, j.kinds[1], 'payment', j.source_ids[1], j.event_keys[1], j.effective_ons[1], j.codes, j.owner_types, j.owners,
      j.currencies, j.sides, j.amounts, j.clear_keys, j.actor_kinds[1], j.actor_ids[1], j.request_ids[1], j.descriptions[1]);
  ELSIF cardinality(j.kinds) > 1 THEN
    PERFORM ledger.post(p_merchant, j.kinds, array_fill('payment'::text, ARRAY[cardinality(j.kinds)]), j.source_ids, j.event_keys, j.effective_ons,
      j.lines_of, j.codes, j.owner_types, j.owners, j.currencies, j.sides, j.amounts, j.clear_keys, j.actor_kinds, j.actor_ids, j.request_ids, j.descriptions);
  END IF;
END $$;

-- An answer that is not a taking: what it makes of the payment, the attempt, the operation, history and events, and the request it answers.
-- `order_id` is named when the order follows the money of the payment.
CREATE TYPE payment_step AS (
  payment uuid, seen timestamptz, at timestamptz, from_status text, to_status text, authorised bigint, capture_reserved bigint, refunded bigint,
  rest_released boolean, expires timestamptz, provider_reference text, method text[], failure_code text, failure_message text, redirect_url text,
  attempt uuid, outcome text, reference text, code text, network_code text, message text, evidence jsonb, latency bigint, ask timestamptz,
  finished timestamptz, operation uuid, operation_status text, event uuid, kind text, amount bigint, details jsonb, actor_kind text, actor_name text,
  outbox uuid, topic text, payload jsonb, order_id uuid, captured bigint, finish_key text, finish_status bigint, finish_body text);

CREATE FUNCTION payments_step(p_merchant uuid, p_steps json, p_journal json) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE steps payment_step[]; j payment_journal := json_populate_record(NULL::payment_journal, p_journal); n bigint; written bigint;
  payments uuid[]; attempts uuid[]; operations uuid[]; keys text[]; orders uuid[];
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(s ORDER BY s.payment), count(*), array_agg(s.payment), array_agg(s.attempt), array_agg(s.operation) FILTER (WHERE s.operation IS NOT NULL),
         array_agg(s.finish_key), array_agg(s.order_id ORDER BY s.order_id) FILTER (WHERE s.order_id IS NOT NULL)
    INTO steps, n, payments, attempts, operations, keys, orders FROM json_populate_recordset(NULL::payment_step, p_steps) s;
  UPDATE payment p SET status = s.to_status, updated_at = s.at, authorised_minor = s.authorised, capture_reserved_minor = s.capture_reserved,
      refunded_minor = s.refunded, rest_released = s.rest_released, expires_at = s.expires, provider_reference = s.provider_reference,
      method_kind = s.method[1], method_brand = s.method[2], last4 = s.method[3], method_expiry = s.method[4], method_fingerprint = s.method[5],
      failure_code = s.failure_code, failure_message = s.failure_message, redirect_url = s.redirect_url
    FROM unnest(steps) s
    WHERE p.merchant_id = p_merchant AND p.id = ANY (payments) AND p.id = s.payment AND p.updated_at = s.seen AND p.status = s.from_status;
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> n THEN RAISE EXCEPTION 'payment moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  UPDATE payment_attempt a SET outcome = s.outcome, provider_reference = coalesce(s.reference, a.provider_reference), code = s.code,
      network_code = s.network_code, message = s.message, evidence = s.evidence, latency_ms = s.latency, next_ask_at = s.ask, finished_at = s.finished
    FROM unnest(steps) s
    WHERE a.merchant_id = p_merchant AND a.id = ANY (attempts) AND a.id = s.attempt AND (a.outcome IS NULL OR a.outcome IN ('pending', 'unknown'));
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> n THEN RAISE EXCEPTION 'attempt moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  IF operations IS NOT NULL THEN
    UPDATE payment_operation o SET status = s.operation_status, updated_at = s.at
      FROM unnest(steps) s
      WHERE o.merchant_id = p_merchant AND o.id = ANY (operations) AND o.id = s.operation AND o.attempt_id = s.attempt
        AND o.status IN ('sending', 'pending', 'unknown');
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(operations) THEN RAISE EXCEPTION 'operation moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  END IF;
  WITH noted AS (
    INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, from_status, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
      SELECT p_merchant, s.event, s.payment, s.at, s.kind, s.from_status, s.to_status, s.amount, s.actor_kind, s.actor_name, s.attempt, s.details
        FROM unnest(steps) s WHERE s.kind IS NOT NULL),
  told AS (
    INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
      SELECT s.outbox, p_merchant, s.topic, s.payload, s.payment, s.at, s.at FROM unnest(steps) s WHERE s.topic IS NOT NULL)
  UPDATE idempotency_key k SET status = s.finish_status, body = convert_to(s.finish_body, 'UTF8'), finished_at = s.at
    FROM unnest(steps) s WHERE k.merchant_id = p_merchant AND k.key = ANY (keys) AND k.key = s.finish_key AND k.status IS NULL;
  IF orders IS NOT NULL THEN
    PERFORM orders_record_collected(p_merchant, orders, array_agg(s.captured ORDER BY s.order_id), array_agg(s.refunded ORDER BY s.order_id), max(s.at))
      FROM unnest(steps) s WHERE s.order_id IS NOT NULL;
  END IF;
  PERFORM payments_post(p_merchant, j);   -- last, as above
END $$;

-- As payments_take, for captures that were asked for before: only while the payments are as the callers saw them, so that the answer each gives is true.
CREATE FUNCTION payments_take_asked(p_merchant uuid, p_seen json, p_takings json, p_journal json, p_default_days integer) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE payments uuid[]; n bigint; written bigint;
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(s.payment), count(*) INTO payments, n FROM json_to_recordset(p_seen) s(payment uuid, seen timestamptz);
  PERFORM FROM json_to_recordset(p_seen) s(payment uuid, seen timestamptz) JOIN payment p ON p.merchant_id = p_merchant AND p.id = ANY (payments)
      AND p.id = s.payment AND p.updated_at = s.seen ORDER BY p.id FOR UPDATE OF p;
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> n THEN RAISE EXCEPTION 'payment moved' USING ERRCODE = '40001', CONSTRAINT = 'payment_moved'; END IF;
  PERFORM payments_take(p_merchant, p_takings, p_journal, p_default_days);
END $$;
