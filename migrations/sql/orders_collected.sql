-- Bring an order to where the money of its payment stands. The only writer of an order's collected amounts. Money counts in every state:
-- what came in while the order was being cancelled came in all the same.
CREATE FUNCTION order_record_collected(p_merchant uuid, p_order uuid, p_captured bigint, p_refunded bigint, p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE sales_order SET captured_minor = p_captured, refunded_minor = p_refunded, updated_at = p_at,
      status = CASE WHEN p_refunded >= p_captured THEN 'refunded' WHEN p_refunded > 0 THEN 'partially_refunded'
                    WHEN p_captured >= total_minor THEN 'paid' ELSE 'partially_paid' END
    WHERE merchant_id = p_merchant AND id = p_order;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no order %', p_order USING ERRCODE = '23503', CONSTRAINT = 'payment_order'; END IF;
END $$;
