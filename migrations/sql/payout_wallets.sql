-- Many wallets at once, as ledger.lock_available locks one: always in the order in which postings lock accounts, so that neither waits in a circle.
CREATE FUNCTION ledger.lock_available_many(p_merchant uuid, p_code text, p_owner_type text, p_owner_ids uuid[], p_currency text)
RETURNS TABLE (owner_id uuid, available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
  PERFORM ledger.enter(p_merchant);
  RETURN QUERY
  SELECT a.owner_id, CASE WHEN b.normal_side = -1 THEN b.credits_posted - b.debits_posted - b.debits_pending
                          ELSE b.debits_posted - b.credits_posted - b.credits_pending END
    FROM account a JOIN balance b ON b.merchant_id = a.merchant_id AND b.account_id = a.id AND b.shard = 0
   WHERE a.merchant_id = p_merchant AND a.code = p_code AND a.owner_type = p_owner_type AND a.owner_id = ANY (p_owner_ids)
     AND a.currency = p_currency
   ORDER BY a.id FOR UPDATE OF b;
END $$;
REVOKE ALL ON FUNCTION ledger.lock_available_many FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.lock_available_many TO countinghouse_app;
