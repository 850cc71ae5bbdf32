-- Start to collect an order, in one round trip: claim the idempotency key, check order and connection, fix the plan for the split, write
-- payment, attempt, history and event (p_named: payment and order by their public ids). What refuses it is an exception with the name of a constraint, so that nothing at all is kept.

CREATE FUNCTION payment_begin(p_merchant uuid, p_key text, p_request bytea, p_lease timestamptz, p_payment uuid, p_attempt uuid, p_order uuid,
  p_connection uuid, p_mode text, p_return_url text, p_actor_kind text, p_actor_name text, p_at timestamptz, p_expires timestamptz,
  p_ask timestamptz, p_event uuid, p_message uuid, p_named jsonb,
  OUT claim text, OUT status bigint, OUT body bytea, OUT resource_id uuid, OUT order_reference text, OUT currency text, OUT amount_minor bigint,
  OUT buyer_name text, OUT buyer_email text, OUT connection_id uuid, OUT psp text, OUT config jsonb, OUT credentials text,
  OUT sellers uuid[], OUT amounts bigint[], OUT fees bigint[])
LANGUAGE plpgsql AS $$
DECLARE o sales_order; c psp_connection;
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  INSERT INTO idempotency_key (merchant_id, key, fingerprint, resource_id, lease_until, created_at)
    VALUES (p_merchant, p_key, p_request, p_attempt, p_lease, p_at) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    SELECT h.claim, h.status, h.body, h.resource_id INTO claim, status, body, resource_id
      FROM idempotency_take_over(p_merchant, p_key, p_request, p_lease, p_at) h;
    RETURN;
  END IF;
  claim := 'new'; resource_id := p_attempt;

  SELECT * INTO o FROM sales_order s WHERE s.merchant_id = p_merchant AND s.id = p_order FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'no such order' USING ERRCODE = '23503', CONSTRAINT = 'payment_order'; END IF;
  IF o.status <> 'open' OR o.expires_at <= p_at THEN
    RAISE EXCEPTION 'order is %', o.status USING ERRCODE = '23514', CONSTRAINT = 'payment_order_open', DETAIL = o.status;
  END IF;
  SELECT * INTO c FROM psp_connection p WHERE p.merchant_id = p_merchant AND (p_connection IS NULL OR p.id = p_connection)
    ORDER BY p.status = 'active' DESC, p.created_at, p.id LIMIT 1;
  IF NOT FOUND OR (p_connection IS NULL AND c.status <> 'active') THEN
    RAISE EXCEPTION 'no such connection' USING ERRCODE = '23503', CONSTRAINT = CASE WHEN p_connection IS NULL THEN 'payment_no_connection' ELSE 'payment_connection' END;
  END IF;
  IF c.status <> 'active' THEN RAISE EXCEPTION 'connection is %', c.status USING ERRCODE = '23514', CONSTRAINT = 'payment_connection_active'; END IF;

  INSERT INTO payment (merchant_id, id, order_id, order_reference, connection_id, status, capture_mode, currency, amount_minor, return_url,
      buyer_name, buyer_name_lc, buyer_email, buyer_email_lc, created_by, created_at, updated_at, expires_at)
    VALUES (p_merchant, p_payment, o.id, o.reference, c.id, 'processing', p_mode, o.currency, o.total_minor, p_return_url,
      o.buyer_name, lower(o.buyer_name), o.buyer_email, o.buyer_email_lc, p_actor_name, p_at, p_at, p_expires);
  WITH parts AS (
    SELECT l.seller_id, sum(l.amount_minor)::bigint AS amount FROM sales_order_line l
     WHERE l.merchant_id = p_merchant AND l.order_id = o.id GROUP BY l.seller_id),
  plan AS (
    INSERT INTO payment_part (merchant_id, payment_id, seller_id, amount_minor, fee_minor)
      SELECT p_merchant, p_payment, parts.seller_id, parts.amount,
             coalesce((SELECT platform_fee_of(parts.amount, f.basis_points, f.fixed_minor) FROM platform_fee f
                        WHERE f.merchant_id = p_merchant AND f.currency = o.currency AND (f.seller_id = parts.seller_id OR f.seller_id IS NULL)
                        ORDER BY f.seller_id NULLS LAST LIMIT 1), 0)
        FROM parts RETURNING seller_id, payment_part.amount_minor, fee_minor)
  SELECT array_agg(p.seller_id ORDER BY p.seller_id), array_agg(p.amount_minor ORDER BY p.seller_id), array_agg(p.fee_minor ORDER BY p.seller_id)
    INTO sellers, amounts, fees FROM plan p;
  INSERT INTO payment_attempt (merchant_id, id, payment_id, connection_id, operation, amount_minor, next_ask_at, created_by, created_at)
    VALUES (p_merchant, p_attempt, p_payment, c.id, 'authorise', o.total_minor, p_ask, p_actor_name, p_at);
  INSERT INTO payment_event (merchant_id, id, payment_id, at, kind, to_status, amount_minor, actor_kind, actor_name, attempt_id, details)
    VALUES (p_merchant, p_event, p_payment, p_at, 'payment.created', 'processing', o.total_minor, p_actor_kind, p_actor_name, p_attempt, '{}');
  INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
    VALUES (p_message, p_merchant, 'payment.created', p_named || jsonb_build_object(
      'status', 'processing', 'amount_minor', o.total_minor, 'currency', o.currency), p_payment, p_at, p_at);

  order_reference := o.reference; currency := o.currency; amount_minor := o.total_minor; buyer_name := o.buyer_name; buyer_email := o.buyer_email;
  connection_id := c.id; psp := c.psp; config := c.config; credentials := c.credentials;
END $$;
