-- Start to collect orders, in one round trip for as many as are asked for at the same moment: claim the idempotency keys, check orders and
-- connections, fix the plans for the split, write payments, attempts, history and events. What refuses one of them is an exception with the
-- name of a constraint, so that nothing at all is kept; the caller then asks for each alone.
--
-- Locks, always in this order: the keys, sorted; the orders, sorted.

-- One wish, as the application sends it. `named`: payment and order by their public ids, for whoever hears of the event.
CREATE TYPE payment_wish AS (
  key text, request text, lease timestamptz, payment uuid, attempt uuid, order_id uuid, connection uuid, mode text, return_url text,
  actor_kind text, actor_name text, at timestamptz, expires timestamptz, ask timestamptz, event uuid, message uuid, named jsonb);

CREATE FUNCTION payments_begin(p_merchant uuid, p_wishes json)
RETURNS TABLE (attempt uuid, claim text, status bigint, body bytea, resource_id uuid, order_reference text, currency text, amount_minor bigint,
  buyer_name text, buyer_email text, connection_id uuid, psp text, config jsonb, credentials text, sellers uuid[], amounts bigint[], fees bigint[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE wishes payment_wish[]; claimed uuid[]; orders uuid[];
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(w ORDER BY w.key, w.attempt) INTO wishes FROM json_populate_recordset(NULL::payment_wish, p_wishes) w;
  WITH fresh AS (
    INSERT INTO idempotency_key (merchant_id, key, fingerprint, resource_id, lease_until, created_at)
      SELECT p_merchant, w.key, decode(w.request, 'hex'), w.attempt, w.lease, w.at FROM unnest(wishes) w ORDER BY w.key, w.attempt
      ON CONFLICT DO NOTHING RETURNING resource_id)
  SELECT array_agg(f.resource_id) INTO claimed FROM fresh f;
  IF cardinality(claimed) IS DISTINCT FROM cardinality(wishes) THEN
    RETURN QUERY SELECT w.attempt, h.claim, h.status, h.body, h.resource_id, NULL::text, NULL::text, NULL::bigint, NULL::text, NULL::text, NULL::uuid,
        NULL::text, NULL::jsonb, NULL::text, NULL::uuid[], NULL::bigint[], NULL::bigint[]
      FROM unnest(wishes) w CROSS JOIN LATERAL idempotency_take_over(p_merchant, w.key, decode(w.request, 'hex'), w.lease, w.at) h
      WHERE w.attempt <> ALL (coalesce(claimed, '{}'));
    IF claimed IS NULL THEN RETURN; END IF;
    wishes := ARRAY(SELECT w FROM unnest(wishes) w WHERE w.attempt = ANY (claimed));
  END IF;
  orders := ARRAY(SELECT w.order_id FROM unnest(wishes) w);   -- named again in each condition, so that an index is used whatever the statistics say
  PERFORM payments_refuse(p_merchant, wishes, orders);

  RETURN QUERY
  WITH wish AS MATERIALIZED (
    SELECT w.*, o.reference, o.currency, o.total_minor, o.buyer_name, o.buyer_email, o.buyer_email_lc, c.id AS through, c.psp, c.config, c.credentials
      FROM unnest(wishes) w JOIN sales_order o ON o.merchant_id = p_merchant AND o.id = ANY (orders) AND o.id = w.order_id
      CROSS JOIN LATERAL (SELECT p.* FROM psp_connection p WHERE p.merchant_id = p_merchant AND (w.connection IS NULL OR p.id = w.connection)
        ORDER BY p.status = 'active' DESC, p.created_at, p.id LIMIT 1) c),
  paid AS (
    INSERT INTO payment (merchant_id, id, order_id, order_reference, connection_id, status, capture_mode, currency, amount_minor, return_url,
        buyer_name, buyer_name_lc, buyer_email, buyer_email_lc, created_by, created_at, updated_at, expires_at)
      SELECT p_merchant, w.payment, w.order_id, w.reference, w.through, 'processing', w.mode, w.currency, w.total_minor, w.return_url,
        w.buyer_name, lower(w.buyer_name), w.buyer_email, w.buyer_email_lc, w.actor_name, w.at, w.at, w.expires FROM wish w),
  part AS (
    INSERT INTO payment_part (merchant_id, payment_id, seller_id, amount_minor, fee_minor)
      SELECT p_merchant, s.payment, s.seller_id, s.amount,
             coalesce((SELECT platform_fee_of(s.amount, f.basis_points, f.fixed_minor) FROM platform_fee f
                        WHERE f.merchant_id = p_merchant AND f.currency = s.currency AND (f.seller_id = s.seller_id OR f.seller_id IS NULL)
                        ORDER BY f.seller_id NULLS LAST LIMIT 1), 0)
        FROM (SELECT w.payment, w.currency, l.seller_id, sum(l.amount_minor)::bigint AS amount
                FROM wish w JOIN sales_order_line l ON l.merchant_id = p_merchant AND l.order_id = ANY (orders) AND l.order_id = w.order_id
               GROUP BY w.payment, w.currency, l.seller_id) s
      RETURNING payment_id, seller_id, amount_minor, fee_minor),
  tried AS (
    INSERT INTO payment_attempt (merchant_id, id, payment_id, connection_id, operation, amount_minor, next_ask_at, created_by, created_at)
      SELECT p_merchant, w.attempt, w.payment, w.through, 'authorise', w.total_minor, w.ask, w.actor_name, w.at FROM wish w),
  noted AS (
    INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
      SELECT p_merchant, w.event, w.payment, w.at, 'payment.created', 'processing', w.total_minor, w.actor_kind, w.actor_name, w.attempt, '{}' FROM wish w),
  told AS (
    INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
      SELECT w.message, p_merchant, 'payment.created',
             w.named || jsonb_build_object('status', 'processing', 'amount_minor', w.total_minor, 'currency', w.currency), w.payment, w.at, w.at FROM wish w),
  plan AS (
    SELECT p.payment_id, array_agg(p.seller_id ORDER BY p.seller_id) AS sellers, array_agg(p.amount_minor ORDER BY p.seller_id) AS amounts,
           array_agg(p.fee_minor ORDER BY p.seller_id) AS fees FROM part p GROUP BY p.payment_id)
  SELECT w.attempt, 'new', NULL::bigint, NULL::bytea, w.attempt, w.reference, w.currency, w.total_minor, w.buyer_name, w.buyer_email, w.through, w.psp,
         w.config, w.credentials, plan.sellers, plan.amounts, plan.fees
    FROM wish w JOIN plan ON plan.payment_id = w.payment;
END $$;

-- Lock the orders and refuse what cannot be paid: an order that is not there or not open, a connection that is not there or not active.
CREATE FUNCTION payments_refuse(p_merchant uuid, p_wishes payment_wish[], p_orders uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  PERFORM FROM sales_order o WHERE o.merchant_id = p_merchant AND o.id = ANY (p_orders) ORDER BY o.id FOR UPDATE;
  SELECT w.connection, o.id AS order_id, o.status AS order_status, c.id AS connection_id, c.status AS connection_status INTO r
    FROM unnest(p_wishes) w LEFT JOIN sales_order o ON o.merchant_id = p_merchant AND o.id = ANY (p_orders) AND o.id = w.order_id
    LEFT JOIN LATERAL (SELECT p.id, p.status FROM psp_connection p WHERE p.merchant_id = p_merchant AND (w.connection IS NULL OR p.id = w.connection)
      ORDER BY p.status = 'active' DESC, p.created_at, p.id LIMIT 1) c ON true
   WHERE o.id IS NULL OR o.status <> 'open' OR o.expires_at <= w.at OR c.status IS DISTINCT FROM 'active' LIMIT 1;
  IF NOT FOUND THEN RETURN; END IF;
  IF r.order_id IS NULL THEN RAISE EXCEPTION 'no such order' USING ERRCODE = '23503', CONSTRAINT = 'payment_order'; END IF;
  IF r.order_status <> 'open' OR r.connection_status = 'active' THEN
    RAISE EXCEPTION 'order is %', r.order_status USING ERRCODE = '23514', CONSTRAINT = 'payment_order_open', DETAIL = r.order_status;
  END IF;
  IF r.connection IS NULL THEN RAISE EXCEPTION 'no connection' USING ERRCODE = '23503', CONSTRAINT = 'payment_no_connection'; END IF;
  IF r.connection_id IS NULL THEN RAISE EXCEPTION 'no such connection' USING ERRCODE = '23503', CONSTRAINT = 'payment_connection'; END IF;
  RAISE EXCEPTION 'connection is %', r.connection_status USING ERRCODE = '23514', CONSTRAINT = 'payment_connection_active';
END $$;
