-- Books and accounts: opened on first use from the chart, in one order everywhere, so that two first-time posters cannot deadlock.

-- Every writing function begins with this: the merchant named is the one the transaction was opened for.
CREATE FUNCTION ledger.enter(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN
    RAISE EXCEPTION 'this transaction is not open for merchant %', p_merchant USING ERRCODE = '42501', CONSTRAINT = 'ledger_tenant';
  END IF;
END $$;

CREATE FUNCTION ledger.open_book(p_merchant uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
  PERFORM ledger.enter(p_merchant);
  INSERT INTO book (merchant_id) VALUES (p_merchant) ON CONFLICT (merchant_id) DO NOTHING;
END $$;

-- p_min_available overrides the chart: 0 refuses a negative balance, -50000 is a credit line. NULL keeps the chart's rule.
CREATE FUNCTION ledger.open_account(p_merchant uuid, p_code text, p_owner_type text, p_owner_id uuid, p_currency text,
  p_min_available bigint DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_id bigint; v_owner_id uuid := coalesce(p_owner_id, '00000000-0000-0000-0000-000000000000'); c chart;
BEGIN
  PERFORM ledger.enter(p_merchant);
  SELECT * INTO c FROM chart WHERE code = p_code;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no account % in the chart', p_code USING ERRCODE = '23503', CONSTRAINT = 'ledger_chart';
  END IF;
  INSERT INTO book (merchant_id) VALUES (p_merchant) ON CONFLICT (merchant_id) DO NOTHING;   -- a book opens with its first account
  INSERT INTO account (merchant_id, code, owner_type, owner_id, currency, class, normal_side, contention, shards, must_clear)
    VALUES (p_merchant, c.code, coalesce(p_owner_type, ''), v_owner_id, p_currency, c.class, c.normal_side, c.contention, c.shards, c.must_clear)
    ON CONFLICT (merchant_id, code, owner_type, owner_id, currency) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NOT NULL THEN
    INSERT INTO balance (merchant_id, account_id, shard, normal_side, min_available)
      SELECT p_merchant, v_id, s, c.normal_side, CASE WHEN c.contention = 0 THEN coalesce(p_min_available, c.min_available) END
      FROM generate_series(0, c.shards - 1) s;
    RETURN v_id;
  END IF;
  SELECT id INTO STRICT v_id FROM account WHERE merchant_id = p_merchant AND code = p_code AND owner_type = coalesce(p_owner_type, '')
    AND owner_id = v_owner_id AND currency = p_currency;
  RETURN v_id;
END $$;

CREATE FUNCTION ledger.open_accounts(p_merchant uuid, e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT DISTINCT code, coalesce(ot, '') AS ot, coalesce(oi, '00000000-0000-0000-0000-000000000000') AS oi, currency
             FROM unnest(e_code, e_owner_type, e_owner_id, e_currency) u(code, ot, oi, currency) ORDER BY 1, 2, 3, 4 LOOP
    PERFORM ledger.open_account(p_merchant, r.code, r.ot, r.oi, r.currency);
  END LOOP;
END $$;

-- p_status: 1 open, 2 nothing may leave, 3 nothing may move, 4 closed.
CREATE FUNCTION ledger.set_account_status(p_merchant uuid, p_account bigint, p_status smallint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
  PERFORM ledger.enter(p_merchant);
  UPDATE account SET status = p_status WHERE merchant_id = p_merchant AND id = p_account AND status <> 4;
  RETURN FOUND;
END $$;

-- Lock one balance row and return what may be taken from it (NULL when the account does not exist yet): for decisions that must not race.
CREATE FUNCTION ledger.lock_available(p_merchant uuid, p_code text, p_owner_type text, p_owner_id uuid, p_currency text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_available bigint;
BEGIN
  PERFORM ledger.enter(p_merchant);
  SELECT CASE WHEN b.normal_side = -1 THEN b.credits_posted - b.debits_posted - b.debits_pending
              ELSE b.debits_posted - b.credits_posted - b.credits_pending END INTO v_available
    FROM account a JOIN balance b ON b.merchant_id = a.merchant_id AND b.account_id = a.id AND b.shard = 0
   WHERE a.merchant_id = p_merchant AND a.code = p_code AND a.owner_type = coalesce(p_owner_type, '')
     AND a.owner_id = coalesce(p_owner_id, '00000000-0000-0000-0000-000000000000') AND a.currency = p_currency FOR UPDATE OF b;
  RETURN v_available;
END $$;
