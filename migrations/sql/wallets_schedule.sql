-- Note when what captures brought each seller becomes available: at the start of the day, so many days later, in the merchant's time zone.
CREATE FUNCTION wallets_schedule_release(p_merchant uuid, p_default_days integer, p_payments uuid[], p_captures uuid[], p_sellers uuid[], p_currencies text[],
  p_amounts bigint[], p_ats timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_days bigint; v_zone text;
BEGIN
  SELECT availability_days, timezone INTO v_days, v_zone FROM wallet_policy WHERE merchant_id = p_merchant;
  v_days := coalesce(v_days, p_default_days); v_zone := coalesce(v_zone, 'UTC');
  INSERT INTO funds_release (merchant_id, id, seller_id, payment_id, capture_id, currency, amount_minor, status, due_at)
    SELECT p_merchant, new_id(at), seller, payment, capture, currency, amount, 'waiting',
           (date_trunc('day', at AT TIME ZONE v_zone) + make_interval(days => v_days::int)) AT TIME ZONE v_zone
      FROM unnest(p_payments, p_captures, p_sellers, p_currencies, p_amounts, p_ats) u(payment, capture, seller, currency, amount, at) WHERE amount > 0;
END $$;
