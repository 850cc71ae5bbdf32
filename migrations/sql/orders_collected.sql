-- Bring an order to where the money of its payment stands. The only writer of an order's collected amounts.
CREATE FUNCTION order_record_collected(p_merchant uuid, p_order uuid, p_captured bigint, p_refunded bigint, p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE sales_order SET captured_minor = p_captured, refunded_minor = p_refunded, updated_at = p_at,
      status = CASE WHEN p_refunded >= p_captured THEN 'refunded' WHEN p_refunded > 0 THEN 'partially_refunded'
                    WHEN p_captured >= total_minor THEN 'paid' ELSE 'partially_paid' END
    WHERE merchant_id = p_merchant AND id = p_order
      AND status IN ('open', 'partially_paid', 'paid', 'partially_refunded', 'refunded');
  IF NOT FOUND THEN
    RAISE EXCEPTION 'order % cannot be collected', p_order USING ERRCODE = '23514', CONSTRAINT = 'order_collectable';
  END IF;
END $$;
