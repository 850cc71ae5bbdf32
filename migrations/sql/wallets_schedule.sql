-- Note when what a capture brought each seller becomes available: at the start of the day, so many days later, in the merchant's time zone.
CREATE FUNCTION wallet_schedule_release(p_merchant uuid, p_payment uuid, p_capture uuid, p_currency text, p_sellers uuid[], p_amounts bigint[],
  p_at timestamptz, p_default_days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_days bigint; v_zone text;
BEGIN
  SELECT availability_days, timezone INTO v_days, v_zone FROM wallet_policy WHERE merchant_id = p_merchant;
  v_days := coalesce(v_days, p_default_days); v_zone := coalesce(v_zone, 'UTC');
  INSERT INTO funds_release (merchant_id, id, seller_id, payment_id, capture_id, currency, amount_minor, status, due_at)
    SELECT p_merchant, new_id(p_at), seller, p_payment, p_capture, p_currency, amount, 'waiting',
           (date_trunc('day', p_at AT TIME ZONE v_zone) + make_interval(days => v_days::int)) AT TIME ZONE v_zone
      FROM unnest(p_sellers, p_amounts) u(seller, amount) WHERE amount > 0;
END $$;
