-- Bring orders to where the money of their payments stands. The only writer of an order's collected amounts. Money counts in every state:
-- what came in while the order was being cancelled came in all the same.
CREATE FUNCTION orders_record_collected(p_merchant uuid, p_orders uuid[], p_captured bigint[], p_refunded bigint[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE written bigint;
BEGIN
  UPDATE sales_order o SET captured_minor = u.captured, refunded_minor = u.refunded, updated_at = p_at,
      status = CASE WHEN u.refunded >= u.captured THEN 'refunded' WHEN u.refunded > 0 THEN 'partially_refunded'
                    WHEN u.captured >= o.total_minor THEN 'paid' ELSE 'partially_paid' END
    FROM unnest(p_orders, p_captured, p_refunded) u(id, captured, refunded) WHERE o.merchant_id = p_merchant AND o.id = ANY (p_orders) AND o.id = u.id;
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> cardinality(p_orders) THEN RAISE EXCEPTION 'there is no such order' USING ERRCODE = '23503', CONSTRAINT = 'payment_order'; END IF;
END $$;
